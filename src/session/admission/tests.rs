use super::*;

fn admission(capacity: usize, reserve: usize, per_user: usize) -> Arc<Admission> {
    Arc::new(Admission::new(Limits { capacity: Some(capacity), reserve, per_user }))
}

fn tokens(range: std::ops::Range<u32>) -> Vec<InstrumentToken> {
    range.map(InstrumentToken).collect()
}

#[test]
fn what_somebody_has_costs_no_further_place() {
    let admission = admission(10, 0, 100);
    let (mut one, mut two) = (admission.holding(&"one".into()), admission.holding(&"two".into()));
    one.replace(&tokens(0..10)).unwrap();
    two.replace(&tokens(0..10)).unwrap();
    let refusal = two.replace(&tokens(5..11)).unwrap_err();
    assert_eq!(refusal, Refusal::Full { needed: 1, free: 0, capacity: 10 });
    assert!(refusal.to_string().contains("10 places"), "{refusal}");
    two.remove(&tokens(0..10));
    assert_eq!(admission.taken(), 10);
    one.replace(&tokens(5..15)).unwrap();
    assert_eq!(admission.taken(), 10, "what is given up makes room at once");
    drop(one);
    assert_eq!(admission.taken(), 0);
    assert!(admission.ledger().users.is_empty());
}

#[test]
fn a_refusal_changes_nothing() {
    let admission = admission(4, 0, 100);
    let mut one = admission.holding(&"one".into());
    one.replace(&tokens(0..4)).unwrap();
    assert!(one.replace(&tokens(2..8)).is_err());
    assert!(one.add(&tokens(3..5)).is_err());
    assert_eq!(admission.taken(), 4);
    assert!(admission.holding(&"two".into()).add(&tokens(0..4)).is_ok(), "the old ones are still there");
}

#[test]
fn a_user_s_connections_share_a_quota() {
    let admission = admission(1_000, 0, 5);
    let (mut one, mut two) = (admission.holding(&"user".into()), admission.holding(&"user".into()));
    one.add(&tokens(0..4)).unwrap();
    two.add(&tokens(0..5)).unwrap();
    assert_eq!(two.add(&tokens(5..6)), Err(Refusal::User { wanted: 6, most: 5 }));
    admission.holding(&"other".into()).add(&tokens(5..6)).unwrap();
    drop(two);
    one.add(&tokens(5..6)).unwrap();
}

#[test]
fn nobody_can_take_the_reserve_but_many_can_share_it() {
    let admission = admission(9_000, 500, 9_000);
    let mut greedy = admission.holding(&"greedy".into());
    let refusal = greedy.add(&tokens(0..9_000)).unwrap_err();
    assert_eq!(refusal, Refusal::Reserved { needed: 9_000, free: 9_000, capacity: 9_000, reserve: 500 });
    greedy.add(&tokens(0..8_500)).unwrap();
    assert!(greedy.add(&tokens(8_500..8_501)).is_err());
    let mut others: Vec<_> = (0..5).map(|user| admission.holding(&format!("user {user}").into())).collect();
    for (at, other) in others.iter_mut().enumerate() {
        let begin = 8_500 + 100 * at as u32;
        other.add(&tokens(begin..begin + 100)).unwrap();
    }
    assert_eq!(admission.taken(), 9_000);
}

#[test]
fn a_firehose_keeps_the_places_of_those_who_leave() {
    let admission = admission(3, 0, 100);
    let (mut hose, mut other) = (admission.holding(&"hose".into()), admission.holding(&"other".into()));
    other.add(&tokens(0..2)).unwrap();
    hose.everything(&tokens(0..2)).unwrap();
    other.add(&tokens(2..3)).unwrap();
    drop(other);
    assert_eq!(admission.taken(), 3);
    assert!(hose.add(&tokens(3..4)).is_err());
    hose.end_everything();
    assert_eq!(admission.taken(), 0);
}
