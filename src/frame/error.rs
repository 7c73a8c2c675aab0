//! What can go wrong with a picture.

use std::fmt;

/// A picture that cannot be decoded, encoded or cut.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are no JPEG that the decoder understands.
    NotDecodable { reason: String },
    /// The picture's size is not the one that was promised.
    WrongSize {
        expected: (usize, usize),
        found: (usize, usize),
    },
    /// Width and height do not fit the buffer that came with them.
    WrongLength { expected: usize, found: usize },
    /// The JPEG encoder failed; its words.
    NotEncodable { reason: String },
    /// A rectangle that is empty, not finite, or not inside the picture.
    BadRectangle {
        bounds: [f32; 4],
        width: usize,
        height: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::NotDecodable { reason } => write!(f, "not a readable JPEG: {reason}"),
            FrameError::WrongSize { expected, found } => {
                write!(
                    f,
                    "the picture is {}x{}, not {}x{}",
                    found.0, found.1, expected.0, expected.1
                )
            }
            FrameError::WrongLength { expected, found } => {
                write!(
                    f,
                    "the picture's buffer holds {found} values, its size asks for {expected}"
                )
            }
            FrameError::NotEncodable { reason } => write!(f, "the JPEG encoder failed: {reason}"),
            FrameError::BadRectangle {
                bounds: [x1, y1, x2, y2],
                width,
                height,
            } => {
                write!(
                    f,
                    "the rectangle {x1},{y1} to {x2},{y2} does not lie in a picture of {width}x{height}"
                )
            }
        }
    }
}

impl std::error::Error for FrameError {}
