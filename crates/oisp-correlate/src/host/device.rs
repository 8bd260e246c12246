//! An id of the machine.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::tree::Tree;

/// Makes the id this program's own. Must never change: all ids would.
const APPLICATION: &[u8; 16] = b"oisp-sensor-dev1";

/// Derived from the machine id, which itself is not to be shown (machine-id(5)), in the way that the manual advises:
/// as `sd_id128_get_machine_app_specific` does. The same as long as the system is installed, in no other program.
pub(super) fn id(root: &Tree) -> Option<String> {
    let machine = parse(&root.value("etc/machine-id")?)?;
    let mut hash = Hmac::<Sha256>::new_from_slice(&machine).ok()?;
    hash.update(APPLICATION);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize().into_bytes()[..16]);
    // A UUID of version 4 by its form.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (position, byte) in id.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

/// 32 hexadecimal digits that are not all 0; before the first start of an image it is `uninitialized`.
fn parse(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u128::from_str_radix(text, 16).ok().filter(|number| *number != 0)?;
    Some(number.to_be_bytes())
}
