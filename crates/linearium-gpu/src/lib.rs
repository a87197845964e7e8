//! GPU player.
