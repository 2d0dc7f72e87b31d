//! Who comes to the Kite endpoint: the query of the handshake.
//!
//! Parameters come in any order, with others between them, and as the clients paste them in: nothing is percent-decoded,
//! and a plus is a plus. This is the one place where the pair is looked at.

/// Half of the pair is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}: missing; the query of a Kite client is ?api_key=KEY&access_token=TOKEN")]
pub struct Refusal(&'static str);

/// The user that a query's pair stands for. Authentication is not configured: any pair is a new anonymous user.
///
/// # Errors
/// When there is no pair.
pub fn admit(query: &str) -> Result<String, Refusal> {
    for name in ["api_key", "access_token"] {
        parameter(query, name).ok_or(Refusal(name))?;
    }
    Ok(uuid::Uuid::new_v4().to_string())
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
            assert!(admit(query).is_ok());
            assert_eq!(parameter(query, "access_token"), Some("a+b%2B"));
        }
    }

    #[test]
    fn half_a_pair_is_refused_by_the_name_of_the_other() {
        for (query, missing) in [("", "api_key"), ("api_key=k", "access_token"), ("api_key=&access_token=a", "api_key")]
        {
            assert_eq!(admit(query), Err(Refusal(missing)));
        }
    }
}
