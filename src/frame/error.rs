//! What can go wrong with a picture.

/// A picture that cannot be decoded, encoded or cut.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are of another kind.
    #[error("{is}, a JPEG is needed: make the package again, and the frames are converted")]
    NotJpeg {
        /// What they seem to be.
        is: &'static str,
    },
    /// The end is missing.
    #[error("the JPEG ends early: a part of the picture is missing; copy it again")]
    CutOff,
    /// A marker is missing between the segments, or there is no picture in it.
    #[error("the JPEG is broken: its segments do not follow each other")]
    Broken,
    /// Samples of more than 8 bits.
    #[error("the JPEG has {bits} bits a colour, 8 are served: convert it")]
    Depth { bits: u8 },
    /// The picture is to be shown turned or mirrored.
    #[error(
        "the JPEG lies on its side or is mirrored (EXIF orientation {orientation}): make the package again, and its frames \
         are turned upright"
    )]
    Turned {
        /// 2..=8.
        orientation: u8,
    },
    /// Lossless, arithmetic or hierarchical compression.
    #[error(
        "the JPEG is compressed in a way that hardly anything reads: make it a baseline or progressive JPEG"
    )]
    Coding,
    /// CMYK, YCCK or plain RGB.
    #[error(
        "the JPEG stores {} colours, only grey and YCbCr are served: make the package again, and its frames are converted",
        if *.components == 4 { "CMYK" } else { "RGB" }
    )]
    Colours { components: u8 },
    /// The decoder fails; its words.
    #[error("not a readable JPEG: {reason}")]
    NotDecodable { reason: String },
    /// The picture's size is not the one that was promised.
    #[error("the picture is {}x{}, not {}x{}", .found.0, .found.1, .expected.0, .expected.1)]
    WrongSize {
        expected: (usize, usize),
        found: (usize, usize),
    },
    /// Width and height do not fit the buffer that came with them.
    #[error("the picture's buffer holds {found} values, its size asks for {expected}")]
    WrongLength { expected: usize, found: usize },
    /// The JPEG encoder failed; its words.
    #[error("the JPEG encoder failed: {reason}")]
    NotEncodable { reason: String },
    /// A rectangle that is empty, not finite, or not inside the picture.
    #[error("the rectangle {bounds:?} does not lie in a picture of {width}x{height}")]
    BadRectangle {
        /// x1, y1, x2, y2 in pixels.
        bounds: [f32; 4],
        width: usize,
        height: usize,
    },
}
