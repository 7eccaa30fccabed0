//! Who is asking: verifies tokens.
