//! How much a package may cost.

/// Limits while a package is loaded: every file's size is compared before the file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadLimits {
    /// Largest manifest.json or frame index, bytes. 16 MiB: an index of 100,000 frames takes about 6.
    pub json_bytes: u64,
    /// Largest network file, bytes. 512 MiB: ten times the networks that users have.
    pub network_bytes: u64,
    /// Largest file of frames, bytes. 1 GiB: its JPEGs stay in memory.
    pub frames_bytes: u64,
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

impl Default for LoadLimits {
    fn default() -> LoadLimits {
        const MIB: u64 = 1 << 20;
        LoadLimits {
            json_bytes: 16 * MIB,
            network_bytes: 512 * MIB,
            frames_bytes: 1024 * MIB,
            tensor_bytes: 256 * MIB,
            frames: 100_000,
            frame_side_px: 4096,
            tensor_values: 16 << 20,
            crop_cache_bytes: 64 << 20,
            kept_frames_bytes: 256 * MIB,
        }
    }
}
