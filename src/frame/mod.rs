//! Pictures: the crop that a network sees, the picture it returns, and JPEG.
//!
//! The only room that names mozjpeg. Everything here is pure: pixels in, pixels out. Images are interleaved 8-bit
//! BGR, row by row, without padding; a network's images are planar f32, 0..1, channel order B, G, R.

mod compose;
mod crop;
mod error;
mod header;
mod image;
mod jpeg;
mod resample;

pub use compose::Composer;
pub use crop::{Crop, Geometry, Mask, cut_crop, fill_input, is_inside};
pub use error::FrameError;
pub use header::JpegHeader;
pub use image::{BgrImage, planes_to_bgr};
pub use jpeg::{
    DEFAULT_QUALITY, JpegEncoder, QUALITY_RANGE, decode_jpeg, decode_whole_jpeg, simd_at_build,
};
