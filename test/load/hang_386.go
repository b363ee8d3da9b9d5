package main

import "errors"

// mapHanging fails: go-fuse does not support this processor.
func mapHanging(int) ([]byte, <-chan struct{}, error) { return nil, nil, errors.ErrUnsupported }
