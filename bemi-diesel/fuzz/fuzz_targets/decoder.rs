//! Any bytes give a message or an error, and allocate no more than a small multiple of their length.

#![no_main]

use bemi_diesel::__internals::is_message;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let bytes = Bytes::copy_from_slice(frame);
    let allocated = allocation_counter::measure(|| {
        let _either = is_message(bytes);
    });
    assert!(allocated.bytes_max <= 1024 + 16 * frame.len() as u64);
});
