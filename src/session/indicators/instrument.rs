//! Which instrument a symbol names, and what may be had of it.

use super::problem::{Kind, Problem};
use crate::identity::permissions::Permissions;
use crate::kite::instruments::Instrument;
use crate::market::InstrumentToken;
use crate::market::indicator::{IndicatorId, Name};
use crate::session::context::Context;

/// Whether somebody may have indicators of an instrument.
pub fn may_have(permissions: &Permissions, token: InstrumentToken) -> bool {
    permissions.indicators && permissions.allows(token)
}

/// The instrument of a symbol, of which these indicators are wanted.
///
/// # Errors
/// When indicators may not be had, there is no such instrument, or it has not what they need.
pub fn instrument(
    context: &Context,
    permissions: &Permissions,
    symbol: &str,
    indicators: &[IndicatorId],
) -> Result<InstrumentToken, Problem> {
    if !permissions.indicators {
        let text = "not permitted; the permission indicators is needed";
        return Err(Problem::of(Kind::Forbidden, "action", text));
    }
    let token = resolve(context, permissions, symbol)?;
    let instruments = context.instruments.load();
    if instruments.by_token(token.0).is_some_and(Instrument::is_index)
        && let Some(id) = indicators.iter().find(|id| says_nothing_without_volume(id))
    {
        return Err(Problem::indicator(format!("{id} needs volume, and {symbol} is an index, which has none")));
    }
    Ok(token)
}

/// The instrument of a symbol. One that may not be had is as unknown as one that is not there.
///
/// # Errors
/// When there is none.
pub fn resolve(context: &Context, permissions: &Permissions, symbol: &str) -> Result<InstrumentToken, Problem> {
    let instruments = context.instruments.load();
    let found = instruments.resolve(symbol).map(|found| found.token).filter(|token| permissions.allows(*token));
    found.ok_or_else(|| Problem::of(Kind::Unknown, "symbol", format!("{symbol} is not in the instrument list")))
}

/// Averages weighted by volume say `null` without it; these would say a number that means nothing.
fn says_nothing_without_volume(id: &IndicatorId) -> bool {
    id.definition().needs_volume && !matches!(id.name(), Name::Vwap | Name::Vwma)
}
