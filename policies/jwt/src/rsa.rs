//! Checking of RSASSA-PKCS1-v1_5 signatures (RFC 8017 §8.2.2): no secret is involved, so nothing here needs to
//! take constant time.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use sha2::{Digest, Sha256};

/// Bits of a modulus: fewer can be broken, more take so much time that a few senders of nonsense keep others waiting.
const BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// What comes before the hash (RFC 8017 §9.2, note 1).
const SHA256: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

pub(crate) struct PublicKey {
    /// Of the modulus, and of every signature.
    bytes: usize,
    modulus: BoxedUint,
    exponent: BoxedUint,
    params: BoxedMontyParams,
}

impl PublicKey {
    pub(crate) fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let bytes = modulus.len();
        if !BITS.contains(&(bytes * 8)) || modulus[0] == 0 {
            return Err("an RSA key has 2048 to 4096 bits, without a zero byte before them".into());
        }
        let wrong = |_| "n and e are no RSA key".to_owned();
        let modulus = BoxedUint::from_be_slice(modulus, bits(bytes)).map_err(wrong)?;
        let exponent_bits = bits(exponent.len().max(1));
        let exponent = BoxedUint::from_be_slice(exponent, exponent_bits).map_err(wrong)?;
        if exponent.bits() < 2 || exponent.bits() > 32 {
            return Err("an RSA exponent is 3 at least and has 32 bits at most".into());
        }
        let odd = Odd::new(modulus.clone()).into_option();
        let odd = odd.ok_or("an RSA modulus is odd")?;
        Ok(Self {
            bytes,
            modulus,
            exponent,
            params: BoxedMontyParams::new_vartime(odd),
        })
    }

    pub(crate) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        if signature.len() != self.bytes {
            return false;
        }
        let Ok(number) = BoxedUint::from_be_slice(signature, bits(self.bytes)) else {
            return false;
        };
        if number >= self.modulus {
            return false;
        }
        let message = BoxedMontyForm::new(number, &self.params).pow(&self.exponent);
        let message = message.retrieve().to_be_bytes();
        // Compared as a whole: what is padded otherwise is another message.
        let surplus = message.len() - self.bytes;
        message[..surplus].iter().all(|byte| *byte == 0) && message[surplus..] == self.encoded(text)
    }

    fn encoded(&self, text: &[u8]) -> Vec<u8> {
        let hash = Sha256::digest(text);
        let padding = self.bytes - 3 - SHA256.len() - hash.len();
        [&[0, 1], &*vec![0xff; padding], &[0], &SHA256, &hash].concat()
    }
}

fn bits(bytes: usize) -> u32 {
    u32::try_from(bytes * 8).unwrap_or(u32::MAX)
}
