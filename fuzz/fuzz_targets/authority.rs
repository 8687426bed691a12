//! Any bytes, cut in any way, through the `:authority` filter: it must not panic, chunks must make
//! no difference, a second pass must find nothing left to do, and what does not begin like HTTP/2
//! must stay as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rigd::transport::authority::AuthorityFilter;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (with_preface, chunk, bytes) = input;
    let stream = if with_preface {
        [PREFACE, bytes].concat()
    } else {
        bytes.to_vec()
    };

    let whole = filtered(&stream, stream.len());
    assert_eq!(whole, filtered(&stream, usize::from(chunk)));
    assert_eq!(whole, filtered(&whole, whole.len()));
    if !stream.starts_with(PREFACE) {
        assert_eq!(whole, stream);
    }
});

fn filtered(stream: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = stream.to_vec();
    let mut filter = AuthorityFilter::new();
    out.chunks_mut(chunk.max(1))
        .for_each(|piece| filter.feed(piece));
    out
}
