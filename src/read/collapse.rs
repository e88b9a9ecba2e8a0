//! Which of these say the same?
//!
//! Pure. In the order given, each joins the first before it that it is similar enough to, or stands for
//! itself. Roughly first: most are so far apart that it does not take more to tell.

use crate::vector::similarity::Rough;

/// What says something of its own.
#[derive(Debug, PartialEq)]
pub struct Distinct<T> {
    /// The first that says it.
    pub one: T,
    /// The others, each with its similarity to that one; most similar first.
    pub same: Vec<(T, f32)>,
}

impl<T> Distinct<T> {
    /// Nothing else says the same.
    pub const fn alone(one: T) -> Self {
        let same = Vec::new();
        Self { one, same }
    }

    fn join(&mut self, other: T, similarity: f32) {
        let at = |same: &[(T, f32)]| same.partition_point(|(_, known)| *known >= similarity);
        self.same.insert(at(&self.same), (other, similarity));
    }
}

/// What becomes of something that was found.
enum Role {
    /// It says something of its own.
    Own,
    /// It joins the one at this place among those.
    Joins(usize, f32),
    /// There are enough already.
    LeftOut,
}

/// The first `most` that say something of their own; what is more similar than `bound` to one of them
/// joins it. `vector` tells where the meaning of each is.
pub fn collapsed<T>(
    found: Vec<T>,
    vector: impl Fn(&T) -> &[f32],
    bound: f32,
    most: usize,
) -> Vec<Distinct<T>> {
    let mut kept: Vec<Rough<'_>> = Vec::with_capacity(most.min(found.len()));
    let role = |one| {
        let rough = Rough::new(vector(one));
        let alike = |(at, known): (usize, &Rough<'_>)| {
            let similarity = rough.similarity_above(bound, known)?;
            Some(Role::Joins(at, similarity))
        };
        if let Some(joins) = kept.iter().enumerate().find_map(alike) {
            joins
        } else if kept.len() < most {
            kept.push(rough);
            Role::Own
        } else {
            Role::LeftOut
        }
    };
    let roles: Vec<Role> = found.iter().map(role).collect();
    let mut distinct: Vec<Distinct<T>> = Vec::with_capacity(most.min(found.len()));
    for (one, role) in found.into_iter().zip(roles) {
        match role {
            Role::Own => distinct.push(Distinct::alone(one)),
            Role::Joins(at, similarity) => {
                if let Some(known) = distinct.get_mut(at) {
                    known.join(one, similarity);
                }
            }
            Role::LeftOut => {}
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A direction in the plane.
    fn at(degrees: f32) -> [f32; 2] {
        let angle = degrees.to_radians();
        [angle.cos(), angle.sin()]
    }

    #[test]
    fn each_joins_the_first_that_is_near_enough() {
        // Within some 8 degrees.
        let bound = 0.99;
        let vectors = [0.0, 20.0, 5.0, 12.0, -3.0, 40.0, 13.0, 60.0, 41.0].map(at);
        let of = |most| {
            let found: Vec<(usize, [f32; 2])> = vectors.into_iter().enumerate().collect();
            let distinct = collapsed(found, |one| &one.1, bound, most);
            let places = |one: Distinct<(usize, [f32; 2])>| {
                let same: Vec<_> = one.same.iter().map(|((other, _), _)| *other).collect();
                (one.one.0, same)
            };
            distinct.into_iter().map(places).collect::<Vec<_>>()
        };
        let all = [(0, vec![4, 2]), (1, vec![6, 3]), (5, vec![8]), (7, vec![])];
        assert_eq!(of(9), all);
        assert_eq!(of(3), all[..3]);
        assert_eq!(of(1), all[..1]);
        assert!(of(0).is_empty());
    }
}
