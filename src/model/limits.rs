//! How much a package may cost.

use crate::base::limits::Limits;

/// Limits while a package is loaded: every file's size is compared before the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Largest manifest.json or frame index, bytes. 16 MiB: an index of 100,000 frames takes about 6.
    pub json_bytes: u64,
    /// Files of one package together, and so each of them, and a network that is given alone: `--max-package-bytes`.
    pub package_bytes: u64,
    /// Largest tensor file (features, golden values), bytes.
    pub tensor_bytes: u64,
    /// Most frames of a package.
    pub frames: usize,
    /// Largest side of a full frame, pixels.
    pub frame_side_px: usize,
    /// Most values of one input or output of a network.
    pub tensor_values: usize,
    /// Bytes of decoded crops that all packages of a server keep together.
    pub crop_cache_bytes: usize,
    /// Bytes that one package may keep of what its U-Net computes from the idle frames alone; 0 keeps nothing.
    /// 256 MiB: about a quarter of the passes' time for 250 frames of 160 × 160 pixels.
    pub kept_frames_bytes: u64,
}

impl From<&Limits> for LoadLimits {
    /// The server's limits, and the rest as it always is.
    fn from(limits: &Limits) -> LoadLimits {
        const MIB: u64 = 1 << 20;
        LoadLimits {
            json_bytes: 16 * MIB,
            package_bytes: limits.max_package_bytes,
            tensor_bytes: 256 * MIB,
            frames: limits.max_frames as usize,
            frame_side_px: 4096,
            tensor_values: 16 << 20,
            crop_cache_bytes: limits.max_crop_cache_bytes as usize,
            kept_frames_bytes: limits.max_kept_frames_bytes,
        }
    }
}

impl Default for LoadLimits {
    /// Those of a server that is started without flags.
    fn default() -> LoadLimits {
        LoadLimits::from(&Limits::default())
    }
}
