//! Any bytes from another node: no panic; and what is read is written and read again as the same message.

use tokio_util::bytes::Bytes;
use tollgate::cluster::Message;

pub(crate) fn check(input: &[u8]) {
    let Ok(Some(message)) = Message::decode(Bytes::copy_from_slice(input)) else { return };
    let written = message.encode();
    let again = Message::decode(written.clone()).expect("what is written can be read");
    assert_eq!(again, Some(message));
    assert_eq!(again.map(|message| message.encode()), Some(written));
}
