package sys

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// TestWithin discards a late result, unless it is an error.
func TestWithin(t *testing.T) {
	errDo, errStop := errors.New("do fails"), errors.New("stop")
	keep := func(value int) { t.Errorf("%d is discarded", value) }
	got, err := Within(t.Context(), func() (int, error) { return 7, nil }, keep)
	if got != 7 || err != nil {
		t.Errorf("in time: got %d, %v", got, err)
	}
	_, err = Within(t.Context(), func() (int, error) { return 0, errDo }, keep)
	if err != errDo {
		t.Errorf("in time: got %v, want %v", err, errDo)
	}
	for _, late := range []error{nil, errDo} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errStop)
			proceed := make(chan struct{})
			discarded := 0
			got, err := Within(ctx, func() (int, error) { <-proceed; return 7, late },
				func(value int) { discarded += value })
			if got != 0 || err != errStop {
				t.Errorf("late: got %d, %v, want 0, %v", got, err, errStop)
			}
			close(proceed)
			synctest.Wait()
			if want := map[error]int{nil: 7}[late]; discarded != want {
				t.Errorf("late error %v: %d is discarded, want %d", late, discarded, want)
			}
		})
	}
}
