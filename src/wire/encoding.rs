//! In which of few ways a tick can be written: format times mode. Each is produced once per update and shared by all
//! who want it.

use crate::market::Mode;

/// How messages to a connection are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Format {
    /// JSON in text frames.
    #[default]
    Json,
    /// MessagePack in binary frames, the same maps.
    Msgpack,
    /// Kite's own: the packet as it came, cut to the mode. Spoken at the Kite endpoint alone.
    Kite,
    /// Nothing is written: the subscriber is the program itself and reads the tick as it is.
    Unwritten,
}

impl Format {
    /// Those in which something is written, in the order of their numbers.
    pub const WRITTEN: [Self; 3] = [Self::Json, Self::Msgpack, Self::Kite];
    /// Those a client of `/ws/stream` may choose.
    const CHOICE: [Self; 2] = [Self::Json, Self::Msgpack];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Kite => "kite",
            Self::Unwritten => "unwritten",
        }
    }

    /// The format of that name, if a client may choose it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::CHOICE.into_iter().find(|format| format.name() == name)
    }
}

/// A format and a mode, as one small number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Encoding {
    /// How it is written.
    pub format: Format,
    /// How much of the tick.
    pub mode: Mode,
}

impl Encoding {
    /// How many there are.
    pub const COUNT: usize = Format::WRITTEN.len() * Mode::ALL.len();

    /// Its number, `0..COUNT` for one that is written.
    pub const fn index(self) -> usize {
        self.format as usize * Mode::ALL.len() + self.mode as usize
    }

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        Format::WRITTEN.into_iter().flat_map(|format| Mode::ALL.into_iter().map(move |mode| Self { format, mode }))
    }
}

/// Which encodings somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EncodingSet(u16);

impl EncodingSet {
    /// Adds one, if it is written.
    pub const fn insert(&mut self, encoding: Encoding) {
        if !matches!(encoding.format, Format::Unwritten) {
            self.0 |= 1 << encoding.index();
        }
    }

    /// Whether it is wanted.
    pub const fn contains(self, encoding: Encoding) -> bool {
        self.0 & (1 << encoding.index()) != 0
    }

    /// Whether none is wanted.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_numbered_without_gaps() {
        let numbers: Vec<usize> = Encoding::all().map(Encoding::index).collect();
        assert_eq!(numbers, (0..Encoding::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn a_set_holds_each_encoding_by_itself() {
        for one in Encoding::all() {
            let mut set = EncodingSet::default();
            set.insert(one);
            assert!(Encoding::all().all(|other| set.contains(other) == (other == one)));
        }
    }

    #[test]
    fn kite_s_format_cannot_be_chosen() {
        assert_eq!(Format::parse("msgpack"), Some(Format::Msgpack));
        assert_eq!(Format::parse("kite"), None);
    }
}
