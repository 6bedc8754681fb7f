//! What indicators are made of. Nothing here knows of keys, columns or dialects.

mod clock;
mod exponential;
mod extreme;
mod mean;
mod moments;
mod ring;
mod sum;
mod wilder;
mod window;

pub use clock::Clock;
pub use exponential::Exponential;
pub use extreme::{Highest, Lowest};
pub use mean::Mean;
pub use moments::Moments;
pub use ring::Ring;
pub use sum::Sum;
pub use wilder::Wilder;
pub use window::Window;
