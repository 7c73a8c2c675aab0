//! Turning a panic into an error.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; a panic is returned as its message. What `work` has changed stays changed: the caller must throw
/// away whatever a panic may have left half done.
///
/// # Errors
/// The message of the panic.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_message(panic.as_ref()))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message was given")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(catch_panic(|| 3), Ok(3));
        assert_eq!(
            catch_panic(|| panic!("static")),
            Err::<(), _>("static".into())
        );
        let number = 7;
        assert_eq!(
            catch_panic(|| panic!("formatted {number}")),
            Err::<(), _>("formatted 7".into())
        );
        let silent = catch_panic(|| std::panic::panic_any(1u8));
        assert_eq!(silent, Err::<(), _>("no message was given".into()));
    }
}
