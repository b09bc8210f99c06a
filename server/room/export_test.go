package room

// WithHash has ids found by another hash, which may collide.
func (c Config) WithHash(hash func(user, id string) uint64) Config {
	c.hash = hash
	return c
}
