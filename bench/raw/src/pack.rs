//! The raw limit of archiving: what is given, in zstd frames of some 64 KiB behind each other in one
//! synced file. No index, no checksums, nothing read back.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Unpacked bytes of a frame.
const FRAME_BYTES: usize = 64 * 1024;

/// That of the archive.
const LEVEL: i32 = 3;

/// What it came to.
#[derive(Debug, Clone, Copy)]
pub struct Packed {
    pub took: Duration,
    /// Of the file.
    pub bytes: u64,
}

/// Packs all pieces into a new file of the directory.
///
/// # Errors
/// When the file cannot be written.
pub fn pack<'a>(directory: &Path, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<Packed> {
    let began = Instant::now();
    let mut file = File::create(directory.join("packed"))?;
    let mut packer = zstd::bulk::Compressor::new(LEVEL)?;
    let (mut frame, mut bytes) = (Vec::with_capacity(2 * FRAME_BYTES), 0);
    let mut write = |frame: &mut Vec<u8>| -> io::Result<u64> {
        let packed = packer.compress(frame)?;
        frame.clear();
        file.write_all(&packed)?;
        Ok(packed.len() as u64)
    };
    for piece in pieces {
        frame.extend_from_slice(piece);
        if frame.len() >= FRAME_BYTES {
            bytes += write(&mut frame)?;
        }
    }
    if !frame.is_empty() {
        bytes += write(&mut frame)?;
    }
    file.sync_all()?;
    Ok(Packed { took: began.elapsed(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_all_there() {
        let directory = tempfile::tempdir().unwrap();
        let pieces: Vec<Vec<u8>> = (0..3000_u32).map(|n| n.to_be_bytes().repeat(20)).collect();
        let packed = pack(directory.path(), pieces.iter().map(Vec::as_slice)).unwrap();
        let file = std::fs::read(directory.path().join("packed")).unwrap();
        assert_eq!(file.len() as u64, packed.bytes);
        assert_eq!(zstd::decode_all(&file[..]).unwrap(), pieces.concat());
    }
}
