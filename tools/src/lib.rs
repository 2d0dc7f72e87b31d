//! Tools that use the gateway only through its public interface.

pub mod load;
