//! Messages of the engine to one connection.

use crate::fanout::series::Message;
use crate::fanout::slot::Inbox;
use crate::wire::push::value_frame;
use serde_json::Value;
use std::sync::Arc;

/// Posts a message that belongs to no series; in all formats, since nobody knows which the connection will have when it
/// reads it. The writer must then be woken.
pub fn post(inbox: &Arc<Inbox>, message: &Value) {
    let message = Message::new(0, 0, |_| true, |out, format| value_frame(out, format, message));
    inbox.mail.keep(None, Arc::new(message));
    inbox.announce();
}
