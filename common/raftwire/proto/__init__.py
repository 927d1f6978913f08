"""The wire messages: .proto sources beside the code generated from them."""
