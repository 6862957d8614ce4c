// Reader restores a TDFS store from its 24 words (or a keyring) and its holders' folders. It is docs/format.md written down once more by someone who
// saw that page and none of the other code; numbers in brackets are its sections. It is slow, changes nothing in a store, and lists what it cannot read.
package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/reedsolomon"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

type (
	damage string
	domain struct { // (3.2)
		score        []byte
		block, arena map[uint64][]byte // by epoch
	}
	place struct { // where a clump stands
		clump  func() []byte
		domain string
		epoch  uint64
	}
	arena struct {
		id, domain, base                        string
		k, m, s, epoch, count, directory, state uint64   // count and directory 0: not known
		names                                   []string // of its fragments; "": not known
	}
	head struct { // (10)
		volume, root, name string
		device, line, seq  uint64
	}
	snapshot struct {
		name  string // VOLUME/NUMBER
		links map[uint64][]byte
		made  map[uint64]string // first names of files with several
	}
)

var (
	//go:embed english.txt
	english             string // BIP-39's list
	account             ed25519.PublicKey
	tag                 string
	anchorKey, recovery []byte
	domains             = map[string]*domain{}
	devices             = map[uint64]ed25519.PublicKey{}
	arenas, fragments   = map[string]*arena{}, map[string][]byte{}
	index               = map[string][]place{}
	heads               = map[string]head{}
	problems, manifest  []string
	unzstd              = must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(8<<20), zstd.WithDecoderConcurrency(1)))
	imageOf             *arena
	image               []byte // of imageOf, in clear
)

func problem(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }

func need(ok bool, format string, a ...any) {
	if !ok {
		panic(damage(fmt.Sprintf(format, a...)))
	}
}

func check(err error) { need(err == nil, "%v", err) }

func must[T any](v T, err error) T { check(err); return v }

func try(what string, do func()) (ok bool) { // damage is listed, and reading goes on
	defer func() {
		if e := recover(); e != nil {
			problem("%s: %s", what, e.(damage))
		}
	}()
	do()
	return true
}

type rd struct{ b []byte } // (1, 12.1)

func (r *rd) take(n uint64) []byte {
	need(uint64(len(r.b)) >= n, "cut short: %d bytes of %d", len(r.b), n)
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

func (r *rd) u(n uint64) uint64 {
	return binary.LittleEndian.Uint64(append(r.take(n), make([]byte, 8)...))
}
func (r *rd) s(n uint64) string { return string(r.take(n)) }
func (r *rd) short() string     { return r.s(r.u(1)) }
func (r *rd) any() uint64       { return r.varint(1<<64 - 1) }
func (r *rd) signed() int64     { v := r.any(); return int64(v>>1) ^ -int64(v&1) }
func (r *rd) end()              { need(len(r.b) == 0, "%d bytes too many", len(r.b)) }

func (r *rd) counted(limit uint64) []byte { return r.take(r.varint(limit)) }
func (r *rd) is(n, v uint64, what string) {
	x := r.u(n)
	need(x == v, "%s %d, expected %d", what, x, v)
}
func (r *rd) magic(m string) { x := r.s(8); need(x == m, "magic %q, expected %q", x, m) }
func (r *rd) list(n uint64, item func()) {
	need(n < 1<<20, "%d items", n)
	for ; n > 0; n-- {
		item()
	}
}
func (r *rd) strings(limit uint64, use func([]byte)) { // (11)
	r.list(r.u(2), func() { n := r.u(4); need(n <= limit, "string of %d bytes", n); use(r.take(n)) })
}

func (r *rd) varint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	need(n > 0 && (n == 1 || r.b[n-1] != 0) && v <= limit, "varint %d, at most %d", v, limit)
	r.b = r.b[n:]
	return v
}

func sum(b []byte) string { h := blake3.Sum256(b); return string(h[:]) }

func derive(context string, parts ...[]byte) []byte { // (3)
	key := make([]byte, 32)
	blake3.DeriveKey(key, "tdfs 2026-11 "+context+" v1", bytes.Join(parts, nil))
	return key
}

func gcm(key []byte) cipher.AEAD { return must(cipher.NewGCM(must(aes.NewCipher(key)))) }

func dare(key, m []byte) (plain []byte) { // (2.4)
	for number, last, first := uint32(0), false, m; !last; number++ {
		need(len(m) >= 33, "DARE: cut short")
		n := int(binary.LittleEndian.Uint16(m[2:])) + 33
		last = len(m) == n
		need(m[0] == 0x20 && m[1] == first[1] && m[1] < 2 && (last || n == 65568 && len(m) > n), "DARE: header of package %d", number)
		need(last == (m[4] > 127) && m[4]&127 == first[4]&127 && bytes.Equal(m[5:16], first[5:16]), "DARE: nonce of package %d", number)
		nonce := append([]byte{}, m[4:16]...)
		binary.LittleEndian.PutUint32(nonce[8:], binary.LittleEndian.Uint32(nonce[8:])^number)
		aead := []cipher.AEAD{gcm(key), must(chacha20poly1305.New(key))}[m[1]]
		plain = must(aead.Open(plain, nonce, m[16:n], m[:4]))
		m = m[n:]
	}
	return
}

func fromWords(text string) { // (3.1)
	words, list, bits := strings.Fields(text), strings.Fields(english), make([]byte, 33)
	need(len(words) == 24, "%d words, expected 24", len(words))
	for i, w := range words {
		n := sort.SearchStrings(list, w)
		need(n < len(list) && list[n] == w, "%q is not a word of the list", w)
		for b := 0; b < 11; b++ {
			bits[(i*11+b)/8] |= byte(n>>(10-b)&1) << (7 - (i*11+b)%8)
		}
	}
	need(sha256.Sum256(bits[:32])[0] == bits[32], "the words' checksum does not fit")
	account = ed25519.NewKeyFromSeed(derive("account signing key", bits[:32])).Public().(ed25519.PublicKey)
	recovery, anchorKey = derive("account recovery key", bits[:32]), derive("account anchor key", bits[:32])
	tag = hex.EncodeToString(derive("account tag", bits[:32])[:16])
}

func fromKeyring(b, passphrase []byte) { // (3.4)
	r := &rd{b}
	r.magic("TDFSKEY1")
	mode, passes, memory, salt := r.u(4), r.u(4), r.u(4), r.take(16)
	message, unlock := r.take(r.u(4)), make([]byte, 32)
	need(sum(b[:len(b)-len(r.b)]) == r.s(32) && mode < 2 && passes <= 16 && memory <= 1<<20, "the keyring is damaged")
	if mode == 1 {
		unlock = argon2.IDKey(passphrase, salt, uint32(passes), uint32(memory), 1, 32)
	}
	r = &rd{dare(derive("keyring", unlock, b[:36]), message)}
	account, _, tag, anchorKey, _, _ = r.take(32), r.take(32), hex.EncodeToString(r.take(16)), r.take(32), r.take(4+32+32+32), r.short()
	certificate(r.take(r.u(2)))
	r.list(r.u(4), func() { addDomain(r.take(r.u(4))) })
	r.end()
}

func certificate(b []byte) { // (3.1)
	r := &rd{b}
	r.magic("TDFSCRT1")
	need(r.s(32) == string(account), "certificate of another account")
	device, key, _, _ := r.u(4), r.take(32), r.take(32+8), r.short()
	need(ed25519.Verify(account, b[:len(b)-len(r.b)], r.take(64)), "certificate of device %d: signature", device)
	r.end()
	devices[device] = key
}

func addDomain(b []byte) { // (3.2)
	r := &rd{b}
	r.is(1, 1, "version of a key domain")
	_, id, score, _ := r.take(3), r.s(16), r.take(32), r.take(32)
	if domains[id] == nil {
		domains[id] = &domain{score, map[uint64][]byte{}, map[uint64][]byte{}}
	}
	d := domains[id]
	r.list(r.u(4), func() { epoch := r.u(4); d.block[epoch], d.arena[epoch] = r.take(32), r.take(32) })
	r.end()
}

func unwrap(w []byte) { // (3.3)
	r := &rd{w}
	r.magic("TDFSWRP1")
	if recovery != nil { // a keyring has the domains themselves
		ephemeral, public := r.take(32), must(curve25519.X25519(recovery, curve25519.Basepoint))
		addDomain(dare(derive("key wrap", must(curve25519.X25519(recovery, ephemeral)), ephemeral, public), r.b))
	}
}

func signed(r *rd, what string, device uint64, parts ...[]byte) { // the rest is the device's signature over the parts
	need(devices[device] != nil && ed25519.Verify(devices[device], bytes.Join(parts, nil), r.take(64)), "%s: signature of device %d", what, device)
	r.end()
}

func addHead(b []byte) { // (10)
	r := &rd{b}
	r.is(1, 1, "version of a head")
	h := head{volume: r.s(16)}
	_, h.device, h.line, h.seq, _, h.root, _, h.name = r.take(16), r.u(4), r.u(8), r.u(8), r.u(8), r.s(32), r.take(32), r.short()
	r.take(12 * r.u(1))
	signed(r, "head of volume "+h.name, h.device, []byte("TDFS head v1"), b[:len(b)-len(r.b)])
	if key := fmt.Sprint(h.volume, h.device, h.line); heads[key].seq < h.seq {
		heads[key] = h
	}
}

func anchor(b []byte) { // (11)
	r, wraps, heads := &rd{b}, [][]byte{}, [][]byte{}
	r.magic("TDFSANC1")
	need(hex.EncodeToString(r.take(16)) == tag, "anchor of another account")
	r.take(8)
	body := must(gcm(anchorKey).Open(nil, r.take(12), r.b, b[:32]))
	r = &rd{body}
	need(r.s(32) == string(account), "anchor of another account")
	device, _ := r.u(4), r.u(8)
	r.strings(4096, certificate)
	r.strings(1<<20, func(w []byte) { wraps = append(wraps, w) })
	r.list(r.u(2), func() { r.take(16); r.short(); r.short() }) // holders
	r.strings(4096, func(h []byte) { heads = append(heads, h) })
	r.take(r.u(2) * (1 + 4 + 8 + 32 + 8)) // logs
	signed(r, "anchor", device, []byte("TDFS anchor v1"), b[:32], body[:len(body)-len(r.b)])
	for _, w := range wraps {
		unwrap(w)
	}
	for _, h := range heads {
		try("anchor", func() { addHead(h) })
	}
}

func recordLog(b []byte, kind uint64) (records []*rd) { // (4)
	r := &rd{b}
	r.magic("TDFSLOG1")
	r.is(4, kind, "kind of log")
	epoch, d, _, log := r.u(4), domains[r.s(16)], r.take(16), r.take(32)
	need(sum(b[:len(b)-len(r.b)]) == r.s(32), "log header's checksum")
	need(d != nil && d.arena[epoch] != nil, "no keys of the log's epoch %d", epoch)
	for aead := gcm(derive("log key", d.arena[epoch], log)); len(r.b) > 32; {
		x := r.take(4)
		size := (&rd{x}).u(4)
		if size < 1 || size > 2<<20 || uint64(len(r.b)) < size+28 {
			break
		}
		body, err := aead.Open(nil, r.take(12), r.take(size+16), append(binary.LittleEndian.AppendUint64(nil, uint64(len(records))), x...))
		if err != nil {
			break // a torn tail
		}
		records = append(records, &rd{body})
	}
	return
}

func journal(r *rd) { // (8)
	kind := r.u(1)
	if need(kind == 1 || kind == 2, "journal record of kind %d", kind); kind == 1 {
		domain, epoch, _, score := r.s(16), r.u(4), r.take(1+1+1+4+4), r.s(32)
		index[score] = append(index[score], place{func() []byte { return r.b }, domain, epoch})
	}
}

func catalog(records []*rd) (whole bool) { // (9)
	mine := map[uint64]*arena{}
	for _, r := range records {
		switch kind := r.u(1); kind {
		case 2:
			whole = true
		case 5:
			ordinal, a := r.u(4), &arena{state: r.u(2) & 255, k: r.u(1), m: r.u(1), id: r.s(32), domain: r.s(16), epoch: r.u(4)}
			_, a.s, a.count, a.directory, _ = r.u(4), r.u(4), r.u(4), r.u(4), r.take(8+8+4)
			r.list(a.k+a.m, func() { a.names = append(a.names, r.s(34)[:32]) })
			r.end()
			mine[ordinal] = a
		case 6:
			for len(r.b) > 0 {
				delete(mine, r.u(4))
			}
		case 7:
			try("catalog", func() { addHead(r.b) })
		default:
			need(kind >= 1 && kind <= 8 || kind >= 128, "catalog record of kind %d", kind)
		}
	}
	for _, a := range mine {
		if whole {
			arenas[a.id] = a
		}
	}
	return
}

func fragmentRecord(b []byte) (a *arena, n uint64) { // (7)
	if r := (&rd{b}); len(b) >= 80 && r.s(8) == "TDFSFRG1" {
		x := &arena{id: r.s(32), k: r.u(1), m: r.u(1)}
		n, x.s = r.u(2), r.u(4)
		if size := 48 + 44*n; uint64(len(b)) >= size+32 && sum(b[:size]) == string(b[size:size+32]) {
			need(x.k > 0 && x.k+x.m <= 256 && n <= x.k+x.m && x.s > 0 && x.s%4096 == 0 && x.k*x.s <= 17821696, "fragment record's numbers")
			a, x.names = x, make([]string, x.k+x.m)
			r.list(n, func() { i := r.u(4); need(i < x.k+x.m, "fragment %d", i); x.names[i] = r.s(8 + 32)[8:] })
		}
	}
	return
}

func fragmentFile(path string, b []byte) { // (7)
	a, n := fragmentRecord(b)
	for at := len(b) &^ 4095; at > 0 && a == nil; at -= 4096 {
		a, n = fragmentRecord(b[at:])
	}
	known := arenas[string(must(hex.DecodeString(filepath.Base(path))))]
	recordBytes := func() uint64 { return (80 + 44*n + 32*n*((a.s+16383)/16384) + 4095) &^ 4095 }
	if a == nil {
		need(known != nil, "both records are lost, and no catalog knows it")
		problem("%s: both records are lost", path)
		for a, n = known, 1; n < a.k+a.m && 2*recordBytes()+n*a.s < uint64(len(b)); {
			n++
		}
	} else if need(hex.EncodeToString([]byte(a.id)) == filepath.Base(path), "the file of arena %x", a.id); known == nil {
		arenas[a.id] = a
	} else {
		for i, name := range a.names {
			if known.names[i] == "" {
				known.names[i] = name
			}
		}
	}
	for i := uint64(0); i < n; i++ {
		at := recordBytes() + i*a.s
		need(at+a.s <= uint64(len(b)), "cut short")
		fragments[sum(b[at:at+a.s])] = b[at : at+a.s]
	}
}

func (a *arena) read() []byte { // its image in clear (2.5, 2.6, 6); what is lost is noise, and nothing made of it passes the checks
	if imageOf == a {
		return image
	}
	parts, good := make([][]byte, a.k+a.m), uint64(0)
	for i, name := range a.names {
		if parts[i] = fragments[name]; parts[i] != nil {
			good++
		}
	}
	if good < a.k {
		problem("arena %x: %d fragments of %d+%d are left", a.id, good, a.k, a.m)
	} else if a.m > 0 {
		check(must(reedsolomon.New(int(a.k), int(a.m), reedsolomon.WithCauchyMatrix())).ReconstructData(parts))
	}
	for i, p := range parts[:a.k] {
		if p == nil {
			parts[i] = make([]byte, a.s)
		}
		need(p == nil || a.names[i] == "" || sum(p) == a.names[i], "arena %x: data fragment %d comes out as another", a.id, i)
	}
	imageOf, image = a, bytes.Join(parts[:a.k], nil)
	if a.base != "" {
		a.decrypt(image)
	}
	return image
}

func (a *arena) decrypt(b []byte) {
	cipher.NewCTR(must(aes.NewCipher(derive("arena key", []byte(a.base), []byte(a.id)))), make([]byte, 16)).XORKeyStream(b, b)
}

func (a *arena) open() { // its clumps into the index (6)
	encrypted, sumOf := a.read(), ""
	for id, d := range domains {
		for epoch, base := range d.arena {
			h, try := append([]byte{}, encrypted[:160]...), *a
			try.base = string(base)
			if try.decrypt(h); string(h[:8]) == "TDFSARN1" && sum(h[:128]) == string(h[128:]) {
				r := &rd{h[8:]}
				need(r.u(1) == a.k && r.u(1) == a.m && r.u(2) < 256 && r.u(4) == a.s && r.s(32) == a.id && r.s(16) == id && r.u(4) == epoch, "arena %x: header", a.id)
				_, a.count, a.directory, _, sumOf = r.u(4), r.u(4), r.u(4), r.take(16), r.s(32)
				a.base, a.domain, a.epoch = string(base), id, epoch
			}
		}
	}
	if a.base == "" { // then the catalog's word
		need(a.count > 0 && domains[a.domain] != nil, "arena %x: no header under any key", a.id)
		problem("arena %x: its header is lost", a.id)
		a.base = string(domains[a.domain].arena[a.epoch])
	}
	a.decrypt(encrypted)
	need(a.directory+48*a.count <= a.k*a.s, "arena %x: directory at %d", a.id, a.directory)
	r := &rd{image[a.directory : a.directory+48*a.count]}
	need(sumOf == "" || sumOf == sum(r.b), "arena %x: directory's checksum", a.id)
	r.list(a.count, func() {
		score, _, from, length, _ := r.s(32), r.u(4), r.u(4), r.u(4), r.u(4)
		clump := func() []byte { return (&rd{a.read()[from:]}).take(length) }
		index[score] = append(index[score], place{clump, a.domain, a.epoch})
	})
}

func block(score string, kind byte, size uint64) (plain []byte) { // (5); size 0: not known
	for _, p := range index[score] {
		if try(fmt.Sprintf("block %x", score[:8]), func() {
			d := domains[p.domain]
			need(d != nil && d.block[p.epoch] != nil, "no keys of epoch %d of its domain", p.epoch)
			r := &rd{dare(derive("block key", d.block[p.epoch], []byte(score)), p.clump())}
			r.is(1, uint64(kind), "type of block")
			codec, length := r.u(3), r.u(4)
			if plain = r.b; codec == 1 {
				plain = must(unzstd.DecodeAll(r.b, nil))
			}
			h := blake3.New(32, derive("score key", d.score, []byte{kind}))
			h.Write(plain)
			need(codec < 2 && uint64(len(plain)) == length && string(h.Sum(nil)) == score, "not what its score names")
		}) {
			need(size == 0 || uint64(len(plain)) == size, "block %x of %d bytes, expected %d", score[:8], len(plain), size)
			return
		}
	}
	need(false, "block %x cannot be read", score[:8])
	return
}

type each func(key, value []byte)

func table(r *rd, do each) { // (12.4)
	if depth := r.u(1); depth > 0 {
		need(depth <= 16, "table of depth %d", depth)
		tableChild(r, depth-1, nil, do)
	} else if leaf := r.counted(16384); len(leaf) > 0 {
		tableBlock(leaf, 0, do)
	}
}

func tableChild(r *rd, level uint64, expected []byte, do each) uint64 { // (12.3)
	score, entries, size, kind := r.s(32), r.any(), r.varint(1<<20), byte(3)
	if level > 0 {
		kind = 4
	}
	n, first := tableBlock(block(score, kind, size), level, do)
	need(n == entries && (expected == nil || bytes.Equal(first, expected)), "table block %x holds %d entries from %q", score[:8], n, first)
	return n
}

func tableBlock(b []byte, level uint64, do each) (entries uint64, first []byte) { // (12.2)
	r, key := &rd{b}, []byte{}
	r.is(2, level<<8|1, "version and level of a table block")
	r.list(r.varint(1<<20), func() {
		next := append(append([]byte{}, key[:r.varint(uint64(len(key)))]...), r.counted(512)...)
		need(bytes.Compare(key, next) < 0, "table keys that do not ascend")
		if key = next; first == nil {
			first = key
		}
		if value := r.counted(32768); level == 0 {
			do(key, value)
			entries++
		} else {
			try(fmt.Sprintf("table from %q", key), func() { entries += tableChild(&rd{value}, level-1, next, do) })
		}
	})
	r.end()
	return
}

func attributes(r *rd) (all [][2]string) { // (13.4)
	list, size := r, r.varint(1<<20)
	if size == 0 {
		list = &rd{r.counted(4096)}
	} else {
		list = &rd{block(r.s(32), 1, size)}
	}
	list.list(list.varint(16384), func() {
		name := string(list.counted(255))
		if list.u(1) == 0 {
			all = append(all, [2]string{name, string(list.counted(65536))})
		} else {
			size := list.varint(1 << 20)
			all = append(all, [2]string{name, string(block(list.s(32), 1, size))})
		}
	})
	list.end()
	return
}

type sink func(size uint64, data []byte) // data nil: a hole

func content(r *rd, emit sink) (size uint64) { // (13.2)
	size = r.any()
	kind, total := r.u(1)&15, size
	if need(kind <= 2, "content of kind %d", kind); kind == 0 {
		emit(size, r.take(size))
	} else if kind == 1 {
		total = extents(r.counted(1024), 0, emit)
	} else {
		depth, score := r.u(1), r.s(32)
		need(depth >= 1 && depth <= 8, "content of depth %d", depth)
		total = extents(block(score, 2, r.varint(1<<20)), depth-1, emit)
	}
	need(total == size, "extents of %d bytes, expected %d", total, size)
	return
}

func extents(b []byte, level uint64, emit sink) (total uint64) { // (13.3)
	r := &rd{b}
	r.is(2, level<<8|1, "version and level of extents")
	r.list(r.varint(1<<20), func() {
		length := r.any()
		kind, skip, size := length&3, uint64(0), length>>2
		if level > 0 {
			size = r.varint(1 << 20)
			below := extents(block(r.s(32), 2, size), level-1, emit)
			need(below == length, "extents of %d bytes, expected %d", below, length)
		} else if length >>= 2; kind == 0 {
			emit(length, nil)
		} else {
			if need(kind < 3, "extent of kind 3"); kind == 2 {
				skip, size = r.varint(1<<20), r.varint(1<<20)
			}
			need(skip+length <= size, "a piece outside its block")
			emit(length, block(r.s(32), 1, size)[skip:skip+length])
		}
		total += length
	})
	r.end()
	return
}

func escape(s, more string) (out string) { // for the manifest and the folders' names
	for _, c := range []byte(s) {
		if c <= 0x20 || c >= 0x7f || strings.IndexByte("%"+more, c) >= 0 {
			out += fmt.Sprintf("%%%02X", c)
		} else {
			out += string(rune(c))
		}
	}
	return
}

func (s *snapshot) restore(path, target string, b []byte) (below [3]uint64) { // (13.1); entries, bytes, links
	r := &rd{b}
	version, kind, flags, id := r.u(1), r.u(1), r.varint(63), r.any()
	if below[0]++; flags == 1 {
		need(len(r.b) == 0 && len(s.links[id]) > 0, "a link to file %x", id)
		r, below[2] = &rd{s.links[id]}, 1
		r.is(2, kind<<8|1, "version and type of the link's file")
		flags = r.varint(63)
		need(r.any() == id, "the record of file %x is another's", id)
	}
	need(version == 1 && kind >= 1 && kind <= 7 && flags&1 == 0, "entry of version %d, type %d, flags %d", version, kind, flags)
	mode, uid, gid, sec, nano := r.varint(0xfff), r.varint(1<<32-1), r.varint(1<<32-1), r.signed(), r.varint(999999999)
	owner, group, count, what, xattrs, root := []byte{}, []byte{}, uint64(1), "-", [][2]string{}, os.Geteuid() == 0
	if flags&16 != 0 {
		count = r.varint(1<<32 - 1)
	}
	if flags&8 != 0 {
		owner, group = r.counted(255), r.counted(255)
	}
	if flags&4 != 0 {
		xattrs = attributes(r)
	}
	if flags&32 != 0 {
		r.u(1)
	}
	made := s.made[id]
	if s.made[id] = target; below[2] == 1 && made != "" {
		check(os.Link(made, target))
	}
	switch kind {
	case 1:
		f := must(os.OpenFile(target, os.O_CREATE|os.O_RDWR, 0600))
		defer f.Close()
		at, holes, h := uint64(0), [][2]uint64{}, blake3.New(32, nil)
		below[1] = content(r, func(n uint64, data []byte) {
			if last := len(holes) - 1; data != nil {
				must(f.WriteAt(data, int64(at)))
			} else if last >= 0 && holes[last][0]+holes[last][1] == at {
				holes[last][1] += n
			} else {
				holes = append(holes, [2]uint64{at, n})
			}
			at += n
		})
		check(f.Truncate(int64(at)))
		must(io.Copy(h, f))
		list := strings.NewReplacer("[[", "", "]]", "", "] [", ",", " ", "+", "[]", "-").Replace(fmt.Sprint(holes))
		what = fmt.Sprintf("%d:%x:%d:%s", at, h.Sum(nil), count, list)
	case 2:
		check(os.Mkdir(target, 0700))
		var sums [3]uint64
		table(r, func(key, value []byte) {
			n := string(key)
			need(len(n) <= 255 && n != "." && n != ".." && !strings.ContainsAny(n, "/\x00"), "a name that is none: %q", n)
			try(s.name+path+"/"+n, func() {
				for i, x := range s.restore(path+"/"+n, target+"/"+n, value) {
					sums[i] += x
				}
			})
		})
		said := [3]uint64{r.any(), r.any(), r.any()}
		if what = fmt.Sprintf("%d:%d:%d", said[0], said[1], said[2]); said != sums {
			problem("%s%s: holds %v (entries, bytes, links), its entry says %v", s.name, path, sums, said)
		}
		below = [3]uint64{1 + said[0], said[1], said[2]}
	case 3:
		to := string(r.counted(4096))
		what = escape(to, "")
		os.Symlink(to, target)
	default:
		device := 0
		if kind == 5 || kind == 6 {
			major, minor := r.varint(1<<32-1), r.varint(1<<32-1)
			what, device = fmt.Sprintf("%d:%d", major, minor), int(unix.Mkdev(uint32(major), uint32(minor)))
		}
		unix.Mknod(target, []uint32{unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFSOCK}[kind-4], device)
	}
	r.end()
	line := fmt.Sprintf("%s/%s %c %04o %d:%d %s:%s %d.%09d %016x %s", s.name, escape(strings.TrimPrefix(path, "/"), ""), " fdlpcbs"[kind], mode, uid, gid,
		escape(string(owner), ":"), escape(string(group), ":"), sec, nano, id, what)
	for _, x := range xattrs {
		line += fmt.Sprintf(" %s=%x", escape(x[0], "="), x[1])
	}
	manifest = append(manifest, line)
	if root {
		check(os.Lchown(target, int(uid), int(gid)))
	}
	for _, x := range xattrs {
		check(unix.Lsetxattr(target, x[0], []byte(x[1]), 0))
	}
	if kind != 3 {
		check(unix.Chmod(target, uint32(mode)))
	}
	time := unix.Timespec{Sec: sec, Nsec: int64(nano)}
	check(unix.UtimesNanoAt(unix.AT_FDCWD, target, []unix.Timespec{time, time}, unix.AT_SYMLINK_NOFOLLOW))
	return
}

func linkTable(r *rd) map[uint64][]byte { // (13.5)
	links := map[uint64][]byte{}
	table(r, func(key, value []byte) { links[binary.BigEndian.Uint64(key)] = value })
	return links
}

func (h *head) snapshots(into map[string][]byte) { // (14.1)
	r := &rd{block(h.root, 5, 0)}
	r.is(1, 1, "version of a volume root")
	need(r.s(16) == h.volume, "root of another volume")
	r.take(1)
	r.varint(65535)
	r.take(1)
	r.any()
	r.list(r.varint(4096), func() { r.varint(1<<24 - 1); r.varint(1<<40 - 1) })
	r.counted(65536)
	linkTable(r)
	table(r, func(key, value []byte) { into[string(key)] = value })
	r.end()
}

func restoreSnapshot(name, target string, value []byte) { // (14.2)
	r := &rd{value}
	r.is(1, 1, "version of a snapshot")
	flags, host, program := r.u(1), r.counted(4096), r.counted(4096)
	r.list(r.varint(256), func() { r.counted(4096) }) // labels
	r.list(r.varint(256), func() { r.counted(4096) }) // sources
	fmt.Fprintf(os.Stderr, "%s: flags %d, by %q on %q, %d torn, %d vanished, %d unreadable\n", name, flags, program, host, r.any(), r.any(), r.any())
	root, s := r.counted(65536), &snapshot{name, linkTable(r), map[uint64]string{}}
	r.end()
	s.restore("", target, root)
}

func main() {
	args, keyring := os.Args[1:], len(os.Args) > 1 && os.Args[1] == "--keyring"
	if keyring {
		args = args[1:]
	}
	if len(args) < 3 {
		fmt.Fprintln(os.Stderr, "reader WORDS-FILE HOLDER... OUTPUT  or  reader --keyring KEYRING-FILE HOLDER... OUTPUT <PASSPHRASE; the manifest goes to stdout")
		os.Exit(2)
	}
	output, holders := args[len(args)-1], args[1:len(args)-1]
	if !try(args[0], func() {
		if b := must(os.ReadFile(args[0])); keyring {
			fromKeyring(b, bytes.TrimSuffix(must(io.ReadAll(os.Stdin)), []byte("\n")))
		} else {
			fromWords(string(b))
		}
	}) {
		fmt.Fprintln(os.Stderr, problems[0])
		os.Exit(2)
	}
	objects := func(pattern string, use func(path string, b []byte)) { // in the order of their names, whoever holds them
		var paths []string
		for _, holder := range holders {
			paths = append(paths, must(filepath.Glob(filepath.Join(holder, pattern)))...)
		}
		sort.SliceStable(paths, func(i, j int) bool { return filepath.Base(paths[i]) < filepath.Base(paths[j]) })
		for _, path := range paths {
			try(path, func() {
				f := must(os.Open(path))
				defer f.Close()
				use(path, must(unix.Mmap(int(f.Fd()), 0, int(must(f.Stat()).Size()), unix.PROT_READ, unix.MAP_PRIVATE)))
			})
		}
	}
	logs := func(kind uint64, pattern string) (longest map[string][]*rd, names []string) { // of the copies of each log, the longest
		longest = map[string][]*rd{}
		objects(pattern, func(path string, b []byte) {
			if name, records := filepath.Base(path), recordLog(b, kind); len(records) > len(longest[name]) {
				if longest[name] == nil {
					names = append(names, name)
				}
				longest[name] = records
			}
		})
		return
	}
	objects("objects/anchor/"+tag+"-*", func(_ string, b []byte) { anchor(b) })
	objects("objects/keys/"+tag, func(_ string, b []byte) {
		r := &rd{b}
		r.magic("TDFSKEY1")
		r.strings(1<<20, unwrap)
		r.end()
	})
	catalogs, names := logs(1, "objects/catalog/*")
	for _, name := range names {
		try(name, func() { catalog(catalogs[name]) })
	}
	journals, names := logs(2, "objects/journal/*")
	for _, name := range names {
		for _, r := range journals[name] {
			try(name, func() { journal(r) })
		}
	}
	objects("fragments/*/*", fragmentFile)
	for _, a := range arenas {
		try("fragments", a.open)
	}
	volumes, byName := map[string]map[string][]byte{}, map[string]string{}
	for _, h := range heads {
		if volumes[h.volume] == nil {
			volumes[h.volume] = map[string][]byte{}
		}
		byName[escape(h.name, "/")] = h.volume
		try("volume "+h.name, func() { h.snapshots(volumes[h.volume]) })
	}
	for name, volume := range byName {
		var keys []string
		for key := range volumes[volume] {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		check(os.MkdirAll(filepath.Join(output, name), 0755))
		for i, key := range keys {
			number := fmt.Sprintf("%s/%d", name, i+1)
			try(number, func() { restoreSnapshot(number, filepath.Join(output, number), volumes[volume][key]) })
		}
	}
	sort.Strings(manifest)
	fmt.Println(strings.Join(manifest, "\n"))
	fmt.Fprintln(os.Stderr, strings.Join(problems, "\n"))
	if len(problems) > 0 {
		os.Exit(1)
	}
}
