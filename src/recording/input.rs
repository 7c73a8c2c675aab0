//! A reader that can look ahead.

use std::io::{self, Read};

/// Bytes of a file from front to back. What was looked at stays to be read.
pub(super) struct Input<R> {
    reader: R,
    /// Bytes that were looked at, of which those before `at` have been read.
    ahead: Vec<u8>,
    at: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        let ahead = Vec::new();
        Self {
            reader,
            ahead,
            at: 0,
        }
    }

    /// The next `len` bytes, or those that are left.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        let held = self.ahead.len() - self.at;
        if held < len {
            self.ahead.drain(..self.at);
            self.at = 0;
            let mut missing = (&mut self.reader).take((len - held) as u64);
            missing.read_to_end(&mut self.ahead)?;
        }
        let end = self.ahead.len().min(self.at + len);
        Ok(&self.ahead[self.at..end])
    }

    /// Leaves out the next `len` bytes, or those that are left.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        io::copy(&mut self.take(len), &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let held = &self.ahead[self.at..];
        if held.is_empty() {
            return self.reader.read(out);
        }
        let len = held.len().min(out.len());
        out[..len].copy_from_slice(&held[..len]);
        self.at += len;
        Ok(len)
    }
}
