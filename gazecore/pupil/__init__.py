"""Eye masks -> ellipses -> pupil-iris ratio -> cleaned trace -> light-reflex parameters; numpy and scipy alone."""
