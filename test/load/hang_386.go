package main

import "errors"

// mapHanging fails: go-fuse does not support this processor.
func mapHanging(int) (missingPages, error) { return missingPages{}, errors.ErrUnsupported }
