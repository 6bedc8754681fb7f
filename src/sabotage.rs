//! Promises that can be broken on purpose, one at a time: a test that finds nothing wrong is worth something only if it
//! finds what is. Nothing of it is in a program that was built without the feature `sabotage`.

/// Whether `TAPEFLOW_SABOTAGE` asks to break this promise.
#[cfg(feature = "sabotage")]
pub fn breaks(promise: &str) -> bool {
    std::env::var("TAPEFLOW_SABOTAGE").is_ok_and(|broken| broken == promise)
}

/// Never.
#[cfg(not(feature = "sabotage"))]
pub const fn breaks(_: &str) -> bool {
    false
}
