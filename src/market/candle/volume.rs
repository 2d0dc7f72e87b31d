//! The meaning of a cumulative volume.

/// What a packet's cumulative volume means.
#[derive(Clone, Copy)]
pub(super) enum Volume {
    /// So much was traded since the packet before.
    Rose(u32),
    /// The count began anew since the packet before, and has come so far.
    Began(u32),
    /// Nothing was traded.
    Same,
    /// It fell within a day: an old state, or a correction.
    Fell,
    /// It cannot be told what was traded since when: a baseline and nothing else.
    Unknown,
}

impl Volume {
    /// What was traded since the packet before.
    pub(super) const fn traded(self) -> u64 {
        match self {
            Self::Rose(by) | Self::Began(by) => by as u64,
            Self::Same | Self::Fell | Self::Unknown => 0,
        }
    }
}
