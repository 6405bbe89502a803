//! A stream of choices that is the same for the same seed.

/// `SplitMix64`: small, fixed for ever, and good enough to choose test data by.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Whether one chance in `out_of` has come.
    pub(crate) fn one_in(&mut self, out_of: usize) -> bool {
        self.below(out_of) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub(crate) fn digits(&mut self, count: usize) -> String {
        let mut digits: String = (0..count)
            .map(|_| char::from(b'0' + u8::try_from(self.below(10)).unwrap()))
            .collect();
        if digits.starts_with('0') {
            digits.replace_range(..1, "7");
        }
        digits
    }

    pub(crate) fn sign(&mut self) -> &'static str {
        self.pick(&["", "-"])
    }
}
