//! How are two rows of int8 codes compared? By the widest instructions that this processor has.
//!
//! Components lie in −127..=127 and rows are padded with zeros to a multiple of [`STEP`], which each kernel
//! relies on.

/// Rows are as long as a multiple of this.
pub(super) const STEP: usize = 64;

/// The dot product of `width` components at each of the two places.
pub(super) type Dot = unsafe fn(*const i8, *const i8, usize) -> i32;

/// The fastest kernel that runs here, with its name.
pub(super) fn pick() -> (Dot, &'static str) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
        {
            return (x86::vnni, "avx512-vnni");
        }
        if is_x86_feature_detected!("avx2") {
            return (x86::avx2, "avx2");
        }
    }
    (portable, "portable")
}

/// # Safety
/// `width` components can be read at both places.
unsafe fn portable(a: *const i8, b: *const i8, width: usize) -> i32 {
    // SAFETY: the caller vouches for `width` components at both.
    let (a, b) = unsafe {
        (
            std::slice::from_raw_parts(a, width),
            std::slice::from_raw_parts(b, width),
        )
    };
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    products.sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Products of |a| and b with a's sign: two of them add up to at most 2 · 127², which 16 bits hold.
    ///
    /// # Safety
    /// As for all kernels: `width` components, a multiple of 64, can be read at both places; and the
    /// processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(a: *const i8, b: *const i8, width: usize) -> i32 {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); 2];
        for at in (0..width).step_by(64) {
            for (half, sum) in sums.iter_mut().enumerate() {
                let at = at + 32 * half;
                // SAFETY: at + 32 ≤ width, because width is a multiple of 64; unaligned loads.
                let (a, b) = unsafe {
                    (
                        _mm256_loadu_si256(a.add(at).cast()),
                        _mm256_loadu_si256(b.add(at).cast()),
                    )
                };
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        let sum = _mm256_add_epi32(sums[0], sums[1]);
        let sum = _mm_add_epi32(
            _mm256_castsi256_si128(sum),
            _mm256_extracti128_si256::<1>(sum),
        );
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b00_00_11_10>(sum));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b00_00_00_01>(sum));
        _mm_cvtsi128_si32(sum)
    }

    /// # Safety
    /// As for all kernels: `width` components, a multiple of 64, can be read at both places; and the
    /// processor has AVX-512 F, BW and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn vnni(a: *const i8, b: *const i8, width: usize) -> i32 {
        let mut sum = _mm512_setzero_si512();
        for at in (0..width).step_by(64) {
            // SAFETY: at + 64 ≤ width; unaligned loads.
            let (a, b) = unsafe {
                (
                    _mm512_loadu_si512(a.add(at).cast()),
                    _mm512_loadu_si512(b.add(at).cast()),
                )
            };
            let negative = _mm512_movepi8_mask(a);
            let signed = _mm512_mask_sub_epi8(b, negative, _mm512_setzero_si512(), b);
            sum = _mm512_dpbusd_epi32(sum, _mm512_abs_epi8(a), signed);
        }
        _mm512_reduce_add_epi32(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Random;

    #[test]
    fn the_picked_kernel_computes_what_the_portable_one_does() {
        let mut random = Random::seeded(7);
        let (dot, _) = pick();
        for width in [STEP, 6 * STEP] {
            let mut codes = || -> Vec<i8> {
                (0..width)
                    .map(|_| random.below(255) as i16 - 127)
                    .map(|x| x as i8)
                    .collect()
            };
            for (a, b) in [
                (codes(), codes()),
                (vec![127; width], vec![-127; width]),
                (vec![-127; width], vec![-127; width]),
            ] {
                // SAFETY: both have `width` components, a multiple of 64.
                let (fast, plain) = unsafe {
                    (
                        dot(a.as_ptr(), b.as_ptr(), width),
                        portable(a.as_ptr(), b.as_ptr(), width),
                    )
                };
                assert_eq!(fast, plain);
            }
        }
    }
}
