//! One link in the chain that an indicator is: a stream that begins by itself once it has enough history.

use super::stream::Stream;

/// A way to take a bar: through `&mut` it commits, through `&` it looks. Both say the same, so that a chain of links is
/// written once for both. It is for references in variables: `field.step(…)` would look, as `&` is tried first.
pub(super) trait Step<Input> {
    /// What it says of a bar.
    type Output;

    /// Takes one bar; `None` while nothing is defined yet.
    fn step(self, input: Input) -> Option<Self::Output>;
}

/// A stream, perhaps still without the history that it needs.
#[derive(Clone)]
pub(super) enum Leg<S: Stream> {
    /// Keeps what came.
    Waiting { parameters: S::Parameters, lookback: usize, history: Vec<S::Input> },
    /// Boxed, since the state of some streams has a kilobyte; small legs keep [`Indicator`](super::Indicator) small.
    Open(Box<S>),
}

impl<S: Stream> Leg<S> {
    /// Without history.
    pub fn new(parameters: S::Parameters) -> Self {
        // The ranges of our parameters lie within TA-Lib's, so there always is a lookback; without one the leg would
        // wait for ever.
        let lookback = S::lookback(parameters).unwrap_or(0);
        Self::Waiting { parameters, lookback, history: Vec::new() }
    }
}

impl<S: Stream> Step<S::Input> for &mut Leg<S> {
    type Output = S::Output;

    fn step(self, input: S::Input) -> Option<S::Output> {
        match self {
            Leg::Open(stream) => stream.update(input),
            Leg::Waiting { parameters, lookback, history } => {
                history.push(input);
                if history.len() <= *lookback {
                    return None;
                }
                let opened = S::open(*parameters, history);
                // So that a history which cannot be opened does not grow for ever.
                history.clear();
                let (stream, output) = opened?;
                *self = Leg::Open(Box::new(stream));
                Some(output)
            }
        }
    }
}

impl<S: Stream> Step<S::Input> for &Leg<S> {
    type Output = S::Output;

    fn step(self, input: S::Input) -> Option<S::Output> {
        match self {
            Leg::Open(stream) => stream.peek(input),
            Leg::Waiting { lookback, history, .. } if history.len() < *lookback => None,
            // Only the bar that completes the history comes here, so the copy is for its ticks alone.
            Leg::Waiting { parameters, history, .. } => {
                let whole: Vec<_> = history.iter().copied().chain([input]).collect();
                S::open(*parameters, &whole).map(|(_, output)| output)
            }
        }
    }
}

/// A leg that begins some bars late.
#[derive(Clone)]
pub(super) struct Late<S: Stream> {
    /// Bars still to let pass.
    skip: usize,
    leg: Leg<S>,
}

impl<S: Stream> Late<S> {
    /// Lets the first `skip` bars pass.
    pub fn new(skip: usize, parameters: S::Parameters) -> Self {
        Self { skip, leg: Leg::new(parameters) }
    }
}

impl<S: Stream> Step<S::Input> for &mut Late<S> {
    type Output = S::Output;

    fn step(self, input: S::Input) -> Option<S::Output> {
        match self.skip {
            0 => (&mut self.leg).step(input),
            skip => {
                self.skip = skip - 1;
                None
            }
        }
    }
}

impl<S: Stream> Step<S::Input> for &Late<S> {
    type Output = S::Output;

    fn step(self, input: S::Input) -> Option<S::Output> {
        if self.skip == 0 { (&self.leg).step(input) } else { None }
    }
}
