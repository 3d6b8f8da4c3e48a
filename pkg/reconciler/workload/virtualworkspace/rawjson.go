package virtualworkspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// JSON is passed on without being decoded: what is taken apart is cut at the boundaries of values, which are copied as
// they stand. The text comes from kcp and is well-formed; what clients send is decoded by the standard library.

// errIncomplete: the text ends before the value does.
var errIncomplete = errors.New("the JSON text ends too early")

// skipSpace gives the index of the first character that is no white space.
func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// skipValue gives the index behind the value that begins at i.
func skipValue(text []byte, i int) (int, error) {
	if i >= len(text) {
		return i, errIncomplete
	}
	switch text[i] {
	case '"':
		return skipString(text, i)
	case '{', '[':
		return skipContainer(text, i)
	default:
		return skipScalar(text, i)
	}
}

func skipString(text []byte, i int) (int, error) {
	for j := i + 1; ; j++ {
		next := bytes.IndexByte(text[min(j, len(text)):], '"')
		if next < 0 {
			return i, errIncomplete
		}
		j += next
		escapes := 0
		for text[j-1-escapes] == '\\' { // ends at the opening quote at the latest
			escapes++
		}
		if escapes%2 == 0 {
			return j + 1, nil
		}
	}
}

func skipContainer(text []byte, i int) (int, error) {
	depth := 0
	for j := i; j < len(text); j++ {
		switch text[j] {
		case '"':
			end, err := skipString(text, j)
			if err != nil {
				return i, err
			}
			j = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return j + 1, nil
			}
		}
	}
	return i, errIncomplete
}

func skipScalar(text []byte, i int) (int, error) {
	for j := i; j < len(text); j++ {
		switch text[j] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			if j == i {
				return i, fmt.Errorf("no JSON value at %d", i)
			}
			return j, nil
		}
	}
	return i, errIncomplete // more digits may follow
}

// member is a name and a value of an object, as they stand in the text.
type member struct {
	name  string
	value []byte
}

// members takes an object apart, in its order. Null has none.
func members(object []byte) ([]member, error) {
	i := skipSpace(object, 0)
	if bytes.Equal(bytes.TrimSpace(object), []byte("null")) {
		return nil, nil
	}
	if i >= len(object) || object[i] != '{' {
		return nil, errors.New("not a JSON object")
	}
	var all []member
	for i = skipSpace(object, i+1); i < len(object) && object[i] != '}'; {
		m, end, err := readMember(object, i)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		if i = skipSpace(object, end); i < len(object) && object[i] == ',' {
			if i = skipSpace(object, i+1); i < len(object) && object[i] == '}' {
				return nil, errors.New("a JSON object ends with a comma")
			}
		} else if i < len(object) && object[i] != '}' {
			return nil, errors.New("no comma between the members of a JSON object")
		}
	}
	if i >= len(object) {
		return nil, errIncomplete
	}
	return all, nil
}

func readMember(text []byte, i int) (m member, end int, err error) {
	if text[i] != '"' {
		return m, i, errors.New("a member of a JSON object has no name")
	}
	end, err = skipString(text, i)
	if err != nil {
		return m, i, err
	}
	if m.name, err = unquote(text[i:end]); err != nil {
		return m, i, err
	}
	if end = skipSpace(text, end); end >= len(text) || text[end] != ':' {
		return m, i, errors.New("a member of a JSON object has no value")
	}
	from := skipSpace(text, end+1)
	if end, err = skipValue(text, from); err != nil {
		return m, i, err
	}
	m.value = text[from:end]
	return m, end, nil
}

func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}

// text is the value of a string member; empty for everything else.
func (m member) text() string {
	if len(m.value) < 2 || m.value[0] != '"' {
		return ""
	}
	text, err := unquote(m.value)
	if err != nil {
		return ""
	}
	return text
}

// objectWriter writes a JSON object member by member.
type objectWriter struct {
	out   *bytes.Buffer
	begun bool
}

func beginObject(out *bytes.Buffer) *objectWriter {
	out.WriteByte('{')
	return &objectWriter{out: out}
}

// name begins a member; its value is to be written next.
func (w *objectWriter) name(name string) {
	if w.begun {
		w.out.WriteByte(',')
	}
	w.begun = true
	writeString(w.out, name)
	w.out.WriteByte(':')
}

func (w *objectWriter) member(name string, value []byte) {
	w.name(name)
	w.out.Write(value)
}

func (w *objectWriter) end() { w.out.WriteByte('}') }

func writeString(out *bytes.Buffer, text string) {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string always marshals
	}
	out.Write(quoted)
}

// jsonStream reads values from a text that arrives piece by piece.
type jsonStream struct {
	from io.Reader
	buf  []byte
	// at is where the next value begins; the text before it is done with.
	at int
	// largest is how much of the text may have to be held at once.
	largest int
}

// largestValue is more than any object that etcd stores, and its encoding.
const largestValue = 16 << 20

func newJSONStream(from io.Reader, buffer int) *jsonStream {
	return &jsonStream{from: from, buf: make([]byte, 0, buffer), largest: largestValue}
}

// shrink gives up a buffer that has grown, when all of its text is done with.
func (s *jsonStream) shrink(buffer int) {
	if cap(s.buf) > buffer && s.at == len(s.buf) {
		s.buf, s.at = make([]byte, 0, buffer), 0
	}
}

// more reads another piece. The text that is done with makes room for it.
func (s *jsonStream) more() error {
	if len(s.buf) == cap(s.buf) {
		if s.at > cap(s.buf)/2 {
			s.buf, s.at = s.buf[:copy(s.buf, s.buf[s.at:])], 0
		} else {
			if cap(s.buf) >= s.largest {
				return fmt.Errorf("a JSON value has more than %d bytes", s.largest)
			}
			grown := make([]byte, len(s.buf)-s.at, 2*cap(s.buf))
			copy(grown, s.buf[s.at:])
			s.buf, s.at = grown, 0
		}
	}
	n, err := s.from.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	switch {
	case n > 0:
		return nil
	case err == nil:
		return nil // a reader may give nothing once in a while
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// peek gives the next character that is no white space.
func (s *jsonStream) peek() (byte, error) {
	for {
		if s.at = skipSpace(s.buf, s.at); s.at < len(s.buf) {
			return s.buf[s.at], nil
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
}

// expect reads the next character, which must be that one.
func (s *jsonStream) expect(c byte) error {
	found, err := s.peek()
	if err != nil {
		return err
	}
	if found != c {
		return fmt.Errorf("found %q in a JSON text instead of %q", found, c)
	}
	s.at++
	return nil
}

// value reads the next value. It holds until the next call.
func (s *jsonStream) value() ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	for {
		end, err := skipValue(s.buf, s.at)
		if err == nil {
			from := s.at
			s.at = end
			return s.buf[from:end], nil
		}
		if !errors.Is(err, errIncomplete) {
			return nil, err
		}
		if err := s.more(); err != nil {
			return nil, err
		}
	}
}

// next reads the comma between two values, and reports whether there was one instead of the end.
func (s *jsonStream) next(end byte) (bool, error) {
	found, err := s.peek()
	if err != nil {
		return false, err
	}
	s.at++
	switch found {
	case ',':
		return true, nil
	case end:
		return false, nil
	default:
		return false, fmt.Errorf("found %q in a JSON text between two values", found)
	}
}
