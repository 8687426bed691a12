//! The SHA-256 of an image, which is not taken anew of what was written before.
//!
//! ```text
//!   like the image before ──first buffer that differs, or is one more──> another one
//!     (nothing to do)        (from the digest as it was up to there)       (SHA-256 of the rest)
//! ```
//!
//! Whether a buffer is that of the image before is told by the hashes of its blocks, which are taken in
//! any case and cost a fraction. A digest as it was behind each buffer is kept for the next image.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::{buffer::Buffer, pages::BLOCKS};

/// The image as it was up to the end of one buffer: 144 bytes for 2 MiB, so 9 MiB for one of 128 GiB.
#[derive(Debug, Clone)]
struct Point {
    /// Of what is in the buffer, and where.
    buffer: [u8; 32],
    so_far: Sha256,
}

/// What is remembered of the image that was written last, whole or not. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digests(Arc<Mutex<Vec<Point>>>);

impl Digests {
    /// Begins with an image.
    pub(crate) fn begin(&self) -> Digest {
        let points = std::mem::take(&mut *self.lock());
        Digest {
            remembered: self.clone(),
            points,
            like_before: true,
            reached: 0,
            so_far: Sha256::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Point>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SHA-256 of one image. What was seen of it is remembered when this is dropped.
#[derive(Debug)]
pub(crate) struct Digest {
    remembered: Digests,
    /// Of this image up to `reached`, and behind it of the one before.
    points: Vec<Point>,
    reached: usize,
    like_before: bool,
    /// Up to `reached`, once it is another image.
    so_far: Sha256,
}

impl Digest {
    /// The next buffer of the image, whose blocks are hashed.
    pub(crate) fn add(&mut self, buffer: &Buffer) {
        let own = buffer.fingerprint();
        if self.like_before {
            let before = self.points.get(self.reached);
            if before.is_some_and(|before| before.buffer == own) {
                self.reached += 1;
                return;
            }
            self.so_far = self.up_to_here();
            self.like_before = false;
            self.points.truncate(self.reached);
        }
        for run in buffer.runs([true; BLOCKS]) {
            self.so_far.update(&buffer.bytes()[run]);
        }
        self.points.push(Point {
            buffer: own,
            so_far: self.so_far.clone(),
        });
        self.reached += 1;
    }

    /// The SHA-256 of the whole image.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.up_to_here().finalize().into()
    }

    fn up_to_here(&self) -> Sha256 {
        let last = self.points[..self.reached].last();
        last.map_or_else(Sha256::new, |last| last.so_far.clone())
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.points.truncate(self.reached);
        *self.remembered.lock() = std::mem::take(&mut self.points);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{BLOCK, BUFFER, PAGE};

    /// Buffers of an image with `holes`, pages that are left out.
    fn buffers(image: &[u8], first: u64, holes: &[usize]) -> Vec<Buffer> {
        let pieces = image.chunks(BUFFER).enumerate();
        let buffers = pieces.map(|(number, piece)| {
            let mut buffer = Buffer::new();
            buffer.reset(first + (number * BUFFER) as u64);
            for at in (0..piece.len()).step_by(PAGE) {
                if !holes.contains(&((number * BUFFER + at) / PAGE)) {
                    let end = piece.len().min(at + PAGE);
                    buffer.put(at..end).copy_from_slice(&piece[at..end]);
                }
            }
            buffer.hash_blocks();
            buffer
        });
        buffers.collect()
    }

    /// The digest, and how many bytes SHA-256 was taken of, by what was left to do.
    fn take(digests: &Digests, buffers: &[Buffer]) -> ([u8; 32], usize) {
        let mut digest = digests.begin();
        let mut hashed = 0;
        for buffer in buffers {
            digest.add(buffer);
            if !digest.like_before {
                hashed += buffer
                    .runs([true; BLOCKS])
                    .map(|run| run.len())
                    .sum::<usize>();
            }
        }
        (digest.finish(), hashed)
    }

    fn plain(buffers: &[Buffer]) -> [u8; 32] {
        let mut sha = Sha256::new();
        for buffer in buffers {
            let runs = buffer.runs([true; BLOCKS]);
            runs.for_each(|run| sha.update(&buffer.bytes()[run]));
        }
        sha.finalize().into()
    }

    #[test]
    fn every_image_has_its_digest_whatever_came_before_it() {
        let image: Vec<u8> = (0..3 * BUFFER + BLOCK + 77)
            .map(|at| (at % 251) as u8)
            .collect();
        let mut last = image.clone();
        last[2 * BUFFER + BLOCK + 5] ^= 1;
        let mut first = image.clone();
        first[0] ^= 1;
        let images = [
            buffers(&image, 0, &[]),
            buffers(&image, 0, &[]),
            buffers(&last, 0, &[]),
            buffers(&image[..2 * BUFFER], 0, &[]),
            buffers(&image, 0, &[]),
            buffers(&image[..image.len() - 1], 0, &[]),
            buffers(&first, 0, &[]),
            // The same bytes elsewhere, or without some of them.
            buffers(&first, BUFFER as u64, &[]),
            buffers(&image, 0, &[3, 600]),
            buffers(&image, 0, &[3]),
            buffers(&[], 0, &[]),
            buffers(&image, 0, &[]),
        ];
        let digests = Digests::default();
        for (number, image) in images.iter().enumerate() {
            assert_eq!(take(&digests, image).0, plain(image), "image {number}");
        }
    }

    #[test]
    fn only_what_differs_is_hashed_again() {
        let image: Vec<u8> = (0..4 * BUFFER).map(|at| (at % 251) as u8).collect();
        let digests = Digests::default();
        assert_eq!(take(&digests, &buffers(&image, 0, &[])).1, image.len());
        assert_eq!(take(&digests, &buffers(&image, 0, &[])).1, 0);
        let mut other = image.clone();
        other[2 * BUFFER] ^= 1;
        assert_eq!(take(&digests, &buffers(&other, 0, &[])).1, 2 * BUFFER);
        // What broke off is remembered as far as it came, and no further.
        let mut broken = digests.begin();
        broken.add(&buffers(&other, 0, &[])[0]);
        drop(broken);
        assert_eq!(take(&digests, &buffers(&other, 0, &[])).1, 3 * BUFFER);
    }
}
