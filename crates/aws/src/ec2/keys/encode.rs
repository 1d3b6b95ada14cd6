//! Keys as files have them: DER, PEM, OpenSSH's line, and the fingerprint that AWS shows.
//!
//! Invariant: what is written here is what OpenSSL and OpenSSH read.
//!
//! Not here: the numbers (`super::rsa`).

use super::rsa::{EXPONENT, Key, Number};

/// DER: a tag, the length, the content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 128 => all.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            let length = &length[zeros..];
            all.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            all.extend(length);
        }
    }
    all.extend(content);
    all
}

/// Bytes of a number that is not negative: a zero goes before a set top bit.
fn positive(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    bytes
}

fn exponent() -> Vec<u8> {
    let bytes = EXPONENT.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// `RSAPrivateKey` of RFC 8017, A.1.2.
fn private_key(key: &Key) -> Vec<u8> {
    let integer = |bytes: Vec<u8>| der(2, &positive(bytes));
    let of = |number: &Number| integer(number.bytes());
    let [p, q] = &key.primes;
    let [dp, dq] = &key.exponents;
    let parts = [
        integer(Vec::new()),
        of(&key.modulus),
        integer(exponent()),
        of(&key.private),
        of(p),
        of(q),
        of(dp),
        of(dq),
        of(&key.coefficient),
    ];
    der(0x30, &parts.concat())
}

/// The private key as AWS answers it.
pub(super) fn pem(key: &Key) -> String {
    let text = base64(&private_key(key));
    let mut pem = String::from("-----BEGIN RSA PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END RSA PRIVATE KEY-----\n");
    pem
}

/// The public key as OpenSSH writes it, without a comment (RFC 4253, 6.6).
pub(super) fn openssh(key: &Key) -> String {
    let parts = [b"ssh-rsa".to_vec(), positive(exponent()), positive(key.modulus.bytes())];
    let mut blob = Vec::new();
    for part in parts {
        blob.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        blob.extend(part);
    }
    format!("ssh-rsa {}", base64(&blob))
}

/// What AWS calls the fingerprint of an RSA key that it made: SHA-1 of the private key as PKCS #8.
pub(super) fn fingerprint(key: &Key) -> String {
    // rsaEncryption (1.2.840.113549.1.1.1), without parameters.
    const ALGORITHM: [u8; 15] =
        [0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let parts = [vec![2, 1, 0], ALGORITHM.to_vec(), der(4, &private_key(key))];
    let digest = sha1(&der(0x30, &parts.concat()));
    digest.map(|byte| format!("{byte:02x}")).join(":")
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let all = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for at in 0..4 {
            if at > chunk.len() {
                text.push('=');
            } else {
                text.push(char::from(LETTERS[(all >> (18 - 6 * at) & 63) as usize]));
            }
        }
    }
    text
}

/// FIPS 180-4. A name for a key, which no safety rests on.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let at = padded.len() - 8;
    let bits = u64::try_from(message.len()).unwrap_or(0).wrapping_mul(8);
    padded[at..].copy_from_slice(&bits.to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for at in 16..80 {
            let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
            words[at] = mixed.rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.into_iter().enumerate() {
            let (f, k) = match at {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
            let next = next.wrapping_add(k).wrapping_add(word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha1_is_that_of_the_standard() {
        let cases = [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
        ];
        for (message, digest) in cases {
            assert_eq!(hex::encode(sha1(message.as_bytes())), digest);
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, text) in cases {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn lengths_are_written_as_der_has_them() {
        assert_eq!(der(4, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(der(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(der(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(positive(vec![0x80]), [0, 0x80]);
        assert_eq!(positive(Vec::new()), [0]);
    }
}
