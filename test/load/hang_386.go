package main

import "errors"

// hangFile fails: go-fuse does not support this processor.
func hangFile([]string) error { return errors.ErrUnsupported }
