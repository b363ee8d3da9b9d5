package sys

import "context"

// Within runs do, and waits for it no longer than ctx goes. One that is late goes on, in a thread of its own if the kernel holds it,
// as a file system does that does not answer; what it returns in the end, without an error, is given to discard.
func Within[T any](ctx context.Context, do func() (T, error), discard func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	}
	go func() {
		if o := <-done; o.err == nil {
			discard(o.value)
		}
	}()
	var none T
	return none, context.Cause(ctx)
}
