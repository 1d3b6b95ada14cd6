//! Which connections are encrypted. What follows is tested with sockets, in `tests/encryption.rs`.

use tanist_core::model::TransitMode;

use super::wire::{Kind, kind};

#[test]
fn the_first_byte_tells_which_kind_of_connection_it_is() {
    for first in 0..=u8::MAX {
        let tls = first == 22;
        assert_eq!(kind(first, TransitMode::Off), Kind::Plain, "{first}");
        let preferred = if tls { Kind::Tls } else { Kind::Plain };
        assert_eq!(kind(first, TransitMode::Preferred), preferred, "{first}");
        let required = if tls { Kind::Tls } else { Kind::Refused };
        assert_eq!(kind(first, TransitMode::Required), required, "{first}");
    }
}
