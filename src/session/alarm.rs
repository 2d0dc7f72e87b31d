//! When a tab wants a turn although nothing comes for it.

/// See the module. **Thread**: the writer's.
#[derive(Clone, Copy, Default, Debug)]
pub struct Alarm {
    /// When, monotonic; 0 for never.
    at_ns: u64,
    /// The time that the writer has noted last.
    noted_ns: u64,
}

impl Alarm {
    /// Wants a turn at that time at the latest.
    pub const fn arm(&mut self, at_ns: u64) {
        if self.at_ns == 0 || at_ns < self.at_ns {
            self.at_ns = at_ns;
        }
    }

    /// The time at which the tab wants a turn, if the writer has not noted it yet.
    pub fn news(&mut self) -> Option<u64> {
        let news = self.at_ns != 0 && self.at_ns != self.noted_ns;
        self.noted_ns = self.at_ns;
        news.then_some(self.at_ns)
    }

    /// A noted time has come. False for one that was meant for something else.
    pub const fn rings(&mut self, noted_ns: u64) -> bool {
        let rings = self.at_ns == noted_ns;
        if rings {
            self.at_ns = 0;
        }
        rings
    }
}
