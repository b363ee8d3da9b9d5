package sys

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// TestWithin waits for what is done in time, and not for what is late: that is discarded in the end, unless it fails.
func TestWithin(t *testing.T) {
	fails, stops := errors.New("it fails"), errors.New("it is to stop")
	got, err := Within(t.Context(), func() (int, error) { return 7, nil }, func(int) { t.Error("what is in time is discarded") })
	if got != 7 || err != nil {
		t.Errorf("in time: %d, %v", got, err)
	}
	if _, err := Within(t.Context(), func() (int, error) { return 0, fails }, func(int) { t.Error("an error is discarded") }); err != fails {
		t.Errorf("it fails in time: %v", err)
	}
	for _, late := range []error{nil, fails} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(stops)
			goOn := make(chan struct{})
			discarded := 0
			got, err := Within(ctx, func() (int, error) { <-goOn; return 7, late }, func(value int) { discarded += value })
			if got != 0 || err != stops {
				t.Errorf("late: %d, %v, want 0, %v", got, err, stops)
			}
			close(goOn)
			synctest.Wait()
			if want := map[error]int{nil: 7}[late]; discarded != want {
				t.Errorf("late with the error %v: %d is discarded, want %d", late, discarded, want)
			}
		})
	}
}
