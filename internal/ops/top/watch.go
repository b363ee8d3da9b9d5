package top

import (
	"context"
	"time"

	"palisade/internal/inject/engine"
)

// Find lists the running containers, and the engines that failed.
type Find func(context.Context) ([]engine.Container, []engine.Skipped, error)

// listEvery is the interval of Find, which takes longer than a sample.
const listEvery = 5 * time.Second

// Once takes two samples, and returns the second with the CPU time used between them.
func Once(ctx context.Context, find Find, l *Looker, interval time.Duration) (Seen, error) {
	containers, skipped, err := find(ctx)
	if err != nil {
		return Seen{}, err
	}
	l.Look(ctx, containers)
	select {
	case <-ctx.Done():
		return Seen{}, ctx.Err()
	case <-time.After(interval):
	}
	seen := l.Look(ctx, containers)
	seen.Skipped = skipped
	return seen, ctx.Err()
}

type list struct {
	containers []engine.Container
	skipped    []engine.Skipped
	err        error
}

// Watch takes a sample every interval until ctx ends, and sends it to the returned channel.
func Watch(ctx context.Context, find Find, l *Looker, interval time.Duration) <-chan Seen {
	out, lists := make(chan Seen), make(chan list)
	go watchList(ctx, find, lists)
	go func() {
		var current list
		var ticks <-chan time.Time // nil before the first list
		for {
			select {
			case current = <-lists:
				if ticks != nil {
					continue
				}
				ticks = time.Tick(interval)
			case <-ticks:
			case <-ctx.Done():
				return
			}
			seen := l.Look(ctx, current.containers)
			if seen.Skipped = current.skipped; current.err != nil {
				seen.Err = current.err
			}
			select {
			case out <- seen:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// watchList sends the running containers to lists every listEvery.
func watchList(ctx context.Context, find Find, lists chan<- list) {
	for ticks := time.Tick(listEvery); ; {
		var l list
		l.containers, l.skipped, l.err = find(ctx)
		select {
		case lists <- l:
		case <-ctx.Done():
			return
		}
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
	}
}
