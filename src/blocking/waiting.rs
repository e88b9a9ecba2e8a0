//! How do methods come about that differ from the async ones in nothing but the waiting?

/// Makes them for a type whose first field is the async one. The receiver is named where they are listed, since `self` in a
/// macro would be another one.
macro_rules! waiting {
    (
        $(#[$doc:meta])+
        impl $of:ident($this:ident: $receiver:ty);
        $($name:ident($($arg:ident: $type:ty),*) -> $output:ty;)+
    ) => {
        $(#[$doc])+
        impl $of {$(
            #[doc = concat!("See [`crate::", stringify!($of), "::", stringify!($name), "`].")]
            ///
            /// # Errors
            /// As there.
            pub fn $name($this: $receiver, $($arg: $type),*) -> $crate::error::Result<$output> {
                $crate::edge::block_on::block_on($this.0.$name($($arg),*))
            }
        )+}
    };
}

pub(super) use waiting;
