//! May they: Cedar decisions.
