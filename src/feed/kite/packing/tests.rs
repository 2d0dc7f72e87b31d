use super::*;

fn want(token: u32, mode: Mode) -> Demand {
    Demand { token: InstrumentToken(token), mode: Some(mode) }
}

fn leave(token: u32) -> Demand {
    Demand { token: InstrumentToken(token), mode: None }
}

#[test]
fn requests_read_as_documented() {
    let mut packing = Packing::new(1, 10);
    packing.apply(&[want(3, Mode::Full), want(1, Mode::Quote), want(2, Mode::Ltp), want(3, Mode::Full)]);
    let first =
        [r#"{"a":"subscribe","v":[1,2,3]}"#, r#"{"a":"mode","v":["ltp",[2]]}"#, r#"{"a":"mode","v":["full",[3]]}"#];
    assert_eq!(packing.requests(0, 0), first);
    assert!(packing.is_settled(0) && packing.requests(0, 0).is_empty());
    packing.apply(&[leave(1), want(2, Mode::Full), want(3, Mode::Quote)]);
    let second =
        [r#"{"a":"unsubscribe","v":[1]}"#, r#"{"a":"mode","v":["quote",[3]]}"#, r#"{"a":"mode","v":["full",[2]]}"#];
    assert_eq!(packing.requests(0, 0), second);
    assert_eq!(packing.held(0), 2);
    packing.start_over(0);
    assert_eq!(packing.held(0), 0);
    assert_eq!(packing.requests(0, 0), [r#"{"a":"subscribe","v":[2,3]}"#, r#"{"a":"mode","v":["full",[2]]}"#]);
}

#[test]
fn what_comes_and_goes_between_requests_is_not_sent() {
    let mut packing = Packing::new(1, 10);
    packing.apply(&[want(1, Mode::Full), leave(1)]);
    assert!(packing.requests(0, 0).is_empty() && packing.owners.is_empty());
    packing.apply(&[want(1, Mode::Quote)]);
    packing.requests(0, 0);
    packing.apply(&[leave(1), want(1, Mode::Quote)]);
    assert!(packing.requests(0, 0).is_empty());
}

#[test]
fn over_the_limit_is_refused_and_taken_up_later() {
    let mut packing = Packing::new(1, 2);
    let refused = packing.apply(&[1, 2, 3, 4].map(|token| want(token, Mode::Quote)));
    assert_eq!(refused, [3, 4].map(InstrumentToken));
    assert_eq!(packing.requests(0, 0), [r#"{"a":"subscribe","v":[1,2]}"#]);
    assert_eq!((packing.held(0), packing.refused()), (2, 2));
    assert!(packing.apply(&[want(3, Mode::Full), leave(1)]).is_empty());
    let turn = [r#"{"a":"unsubscribe","v":[1]}"#, r#"{"a":"subscribe","v":[3]}"#, r#"{"a":"mode","v":["full",[3]]}"#];
    assert_eq!(packing.requests(0, 0), turn);
    // One that leaves and returns before Kite was told has lost its place.
    assert_eq!(packing.apply(&[leave(2), want(2, Mode::Quote)]), [InstrumentToken(2)]);
    assert_eq!(packing.requests(0, 0), [r#"{"a":"unsubscribe","v":[2]}"#, r#"{"a":"subscribe","v":[4]}"#]);
    packing.apply(&[leave(2)]);
    assert_eq!((packing.held(0), packing.refused()), (2, 0));
}

#[test]
fn sockets_are_filled_one_after_the_other_and_nothing_moves() {
    let mut packing = Packing::new(3, 2);
    assert!(packing.apply(&[1, 2, 3, 4, 5].map(|token| want(token, Mode::Quote))).is_empty());
    assert_eq!([0, 1, 2].map(|line| packing.tokens(line)), [2, 2, 1]);
    packing.apply(&[leave(1)]);
    packing.apply(&[want(6, Mode::Quote)]);
    assert_eq!(packing.requests(0, 0), [r#"{"a":"subscribe","v":[2,6]}"#], "the place that is free, and nobody moves");
    assert_eq!(packing.requests(1, 0), [r#"{"a":"subscribe","v":[3,4]}"#]);
    assert_eq!(packing.apply(&[want(7, Mode::Quote), want(8, Mode::Quote)]), [InstrumentToken(8)]);
    assert_eq!(packing.requests(2, 0), [r#"{"a":"subscribe","v":[5,7]}"#]);
}

#[test]
fn a_token_is_never_on_two_sockets() {
    let mut packing = Packing::new(2, 2);
    packing.apply(&[1, 2, 3].map(|token| want(token, Mode::Quote)));
    packing.requests(0, 0);
    packing.requests(1, 0);
    // It leaves, another takes its place, it returns, all before Kite was told.
    packing.apply(&[leave(1), want(9, Mode::Quote), want(1, Mode::Quote)]);
    assert!(packing.requests(1, 0).is_empty(), "the first socket still has it");
    assert!(!packing.is_settled(1));
    assert_eq!(packing.requests(0, 0), [r#"{"a":"unsubscribe","v":[1]}"#, r#"{"a":"subscribe","v":[9]}"#]);
    assert_eq!(packing.requests(1, 0), [r#"{"a":"subscribe","v":[1]}"#]);
    assert!(packing.is_settled(1));
}

#[test]
fn what_was_on_a_dead_socket_moves_as_far_as_there_is_room() {
    let mut packing = Packing::new(3, 3);
    packing.apply(&[1, 2, 3, 4].map(|token| want(token, Mode::Full)));
    (0..3).for_each(|line| drop(packing.requests(line, 0)));
    packing.start_over(0);
    packing.set_down(0, true);
    assert_eq!(packing.spill(0, |line| line == 1), 2, "the second socket has two free places, the third is not open");
    assert_eq!([0, 1, 2].map(|line| packing.tokens(line)), [1, 3, 0]);
    assert_eq!(packing.requests(1, 0), [r#"{"a":"subscribe","v":[1,2]}"#, r#"{"a":"mode","v":["full",[1,2]]}"#]);
    packing.apply(&[want(5, Mode::Full)]);
    assert_eq!(packing.tokens(2), 1, "what is new goes to a socket that is not down");
    packing.set_down(0, false);
    assert_eq!(packing.requests(0, 0)[0], r#"{"a":"subscribe","v":[3]}"#, "what has moved stays where it is");
}

#[test]
fn long_lists_are_split() {
    let mut packing = Packing::new(1, 3_000);
    let all: Vec<Demand> = (0..2_500).map(|token| want(token, Mode::Full)).collect();
    packing.apply(&all);
    let requests = packing.requests(0, 0);
    assert_eq!(requests.len(), 6);
    assert!(requests[..3].iter().all(|request| request.starts_with(r#"{"a":"subscribe","v":["#)));
    assert_eq!(requests[2].matches(',').count(), 500);
}
