//! One socket: what the client says goes to the exchange, what the exchange sends goes to the client.

use super::exchange::{Admitted, Command};
use super::throttle::Throttled;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Longest request taken: 3,000 tokens need a hundredth of it.
const MAX_REQUEST: usize = 4 << 20;

/// Serves a connection to its end, whoever ends it.
pub(super) async fn serve(on_upgrade: OnUpgrade, admitted: Admitted, commands: mpsc::Sender<Command>) {
    let line = admitted.line;
    if let Err(problem) = exchange_frames(on_upgrade, admitted, &commands).await {
        tracing::debug!(connection = line, problem, "connection ended");
    }
    // Fails when the sandbox has ended, and with it all there is to tell.
    let _ = commands.send(Command::Gone { line }).await;
}

async fn exchange_frames(
    on_upgrade: OnUpgrade,
    admitted: Admitted,
    commands: &mpsc::Sender<Command>,
) -> Result<(), &'static str> {
    let Admitted { line, mut outgoing, pace } = admitted;
    let upgraded = on_upgrade.await.map_err(|_| "the upgrade did not happen")?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| "no TCP socket")?;
    let socket = Throttled::new(parts.io.into_inner(), pace);
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1_024)
        .max_message_size(Some(MAX_REQUEST))
        .max_frame_size(Some(MAX_REQUEST));
    let socket = WebSocketStream::from_partially_read(socket, parts.read_buf.into(), Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let reading = async {
        while let Some(message) = source.next().await {
            let text = match message.map_err(|_| "the socket broke")? {
                Message::Text(text) => text.as_bytes().to_vec(),
                // Some clients mark their JSON as binary.
                Message::Binary(bytes) => bytes.to_vec(),
                _ => continue,
            };
            commands.send(Command::Said { line, text }).await.map_err(|_| "the sandbox ends")?;
        }
        Ok(())
    };
    let writing = async {
        while let Some(message) = outgoing.recv().await {
            sink.send(message).await.map_err(|_| "the socket broke")?;
        }
        Err("hung up by a fault")
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}
