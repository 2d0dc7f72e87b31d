//! Who comes to the Kite endpoint: the query of the handshake.
//!
//! Parameters come in any order, with others between them, and as the clients paste them in: nothing is percent-decoded,
//! and a plus is a plus.

use crate::secret::Secret;

/// Half of the pair is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}: missing; the query of a Kite client is ?api_key=KEY&access_token=TOKEN")]
pub struct Refusal(&'static str);

/// The access token of a query that has the pair. The key is not looked at: it names Kite's account, of which there is
/// one.
///
/// # Errors
/// When there is no pair.
pub fn access_token(query: &str) -> Result<Secret, Refusal> {
    parameter(query, "api_key").ok_or(Refusal("api_key"))?;
    parameter(query, "access_token").map(Secret::new).ok_or(Refusal("access_token"))
}

/// The value of a parameter that is not empty.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_any_order_and_as_they_are() {
        for query in ["api_key=k&access_token=a+b%2B", "uid=17&access_token=a+b%2B&x&api_key=k"] {
            assert_eq!(access_token(query).unwrap().reveal(), "a+b%2B");
        }
    }

    #[test]
    fn half_a_pair_is_refused_by_the_name_of_the_other() {
        for (query, missing) in [("", "api_key"), ("api_key=k", "access_token"), ("api_key=&access_token=a", "api_key")]
        {
            assert_eq!(access_token(query).err(), Some(Refusal(missing)));
        }
    }
}
