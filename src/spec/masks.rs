//! What `${...}` stands for is not shown: where it would be, in messages, logs, plans and reports, stands the reference.
//!
//! Addresses are the exception. They are no secret to whoever can see the connection fail, and who has to mend it must
//! see them; only plans show them as they were written.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

/// Shorter values are no secrets, and would be found everywhere.
const SHORTEST: usize = 4;

/// The values that came from outside of the dataflow files of this process, the longest first.
static MASKS: RwLock<Vec<Mask>> = RwLock::new(Vec::new());

struct Mask {
    value: String,
    reference: String,
    /// Messages show it.
    address: bool,
}

/// From now on `reference` is shown in place of `value`; that of an address in plans only.
pub fn note(value: &str, reference: &str, address: bool) {
    if value.len() < SHORTEST {
        return;
    }
    // As it stands in JSON it may look otherwise.
    let quoted = serde_json::Value::from(value).to_string();
    let reference: String = reference.chars().filter(|c| !['"', '\\'].contains(c)).collect();
    let mut masks = MASKS.write().unwrap_or_else(PoisonError::into_inner);
    for value in [value, &quoted[1..quoted.len() - 1]] {
        match masks.iter_mut().find(|mask| mask.value == value) {
            // What is an address here may be a secret there.
            Some(mask) => mask.address &= address,
            None => masks.push(Mask { value: value.to_string(), reference: reference.clone(), address }),
        }
    }
    masks.sort_by_key(|mask| std::cmp::Reverse(mask.value.len()));
}

/// `text` as it may be told.
pub fn masked(text: &str) -> Cow<'_, str> {
    replaced(text, false)
}

/// `text` as it may be told, addresses as they were written, too.
pub fn as_written(text: &str) -> Cow<'_, str> {
    replaced(text, true)
}

fn replaced(text: &str, addresses: bool) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for mask in MASKS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if (addresses || !mask.address) && text.contains(&mask.value) {
            text = Cow::Owned(text.replace(&mask.value, &mask.reference));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown_but_addresses_are_in_messages() {
        note("hush-hush", "${file:a\"b}", false);
        note("hush-hush-hush", "${LONGER}", false);
        note("say \"hush\"", "${QUOTED}", false);
        note("mask.example:9092", "${MASK_BROKERS}", true);
        note("abc", "${SHORT}", false);
        let text = "abc: hush-hush at mask.example:9092 (hush-hush-hush)";
        assert_eq!(masked(text), "abc: ${file:ab} at mask.example:9092 (${LONGER})");
        assert_eq!(as_written(text), "abc: ${file:ab} at ${MASK_BROKERS} (${LONGER})");
        assert_eq!(masked("{\"a\":\"say \\\"hush\\\"\"}"), "{\"a\":\"${QUOTED}\"}");
        note("mask.example:9092", "${ANOTHER}", false);
        assert_eq!(masked(text), as_written(text), "a secret elsewhere");
    }
}
