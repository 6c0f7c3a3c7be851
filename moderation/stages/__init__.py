"""One file a check; heavy libraries load in load(), never at import."""
