"""What notebook 07 and the page of `make demo` stand on: lessons, sliders and viewers, the page itself."""
