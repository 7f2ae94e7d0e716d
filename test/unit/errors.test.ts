import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { test } from 'node:test'
import { asXpmemError, codeOf, type ErrorCode, errnoOf, XpmemError } from '../../src/errors.js'

const codes: ErrorCode[] = [
  'EACCES',
  'EAGAIN',
  'EBADF',
  'EBUSY',
  'ECANCELED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EEXIST',
  'EFAULT',
  'EFBIG',
  'EINVAL',
  'EMFILE',
  'ENAMETOOLONG',
  'ENOENT',
  'ENOMEM',
  'ENOTSUP',
  'EPERM',
  'EPROTO',
  'ESRCH',
  'ETIMEDOUT',
]

test('every code becomes its errno and back', () => {
  for (const code of codes) {
    assert.equal(codeOf(errnoOf(code)), code)
    assert.equal(errnoOf(code), (constants.errno as Record<string, number>)[code])
  }
})

test('an errno that Linux does not have is EPROTO', () => {
  for (const errno of [0, -1, 9_999, 2 ** 32 - 1, Number.NaN]) assert.equal(codeOf(errno), 'EPROTO')
})

test('an XpmemError says the call, what is wrong and the code', () => {
  const error = new XpmemError('EACCES', 'get', 'not yours', { cause: 1 })
  assert.equal(error.message, 'get: not yours (EACCES)')
  assert.equal(error.name, 'XpmemError')
  assert.deepEqual([error.code, error.errno, error.call, error.cause], ['EACCES', constants.errno.EACCES, 'get', 1])
})

test('an XpmemError of the same call stays the same', () => {
  const error = new XpmemError('ENOENT', 'attach', 'gone')
  assert.equal(asXpmemError(error, 'attach'), error)
})

test('an XpmemError of another call becomes one of this call, with the same code and reason', () => {
  const cause = new XpmemError('ENOENT', 'attach', 'gone')
  const error = asXpmemError(cause, 'get')
  assert.deepEqual([error.code, error.call, error.reason, error.cause], ['ENOENT', 'get', 'gone', cause])
})

test('an argument of the wrong type is EINVAL', () => {
  assert.equal(asXpmemError(new TypeError('length must be a number'), 'allocate').code, 'EINVAL')
})

test('the name of the system call is not said twice', () => {
  const cause = Object.assign(new Error('connect: no such file'), { code: 'ENOENT', syscall: 'connect' })
  assert.equal(asXpmemError(cause, 'connect').message, 'connect: no such file (ENOENT)')
  assert.equal(asXpmemError(cause, 'open').message, 'open: connect: no such file (ENOENT)')
})

test('an error of the kernel keeps its code and becomes the cause', () => {
  const cause = Object.assign(new Error('no room'), { code: 'ENOMEM' })
  const error = asXpmemError(cause, 'allocate')
  assert.deepEqual([error.code, error.call, error.cause], ['ENOMEM', 'allocate', cause])
})

test('anything else that is thrown becomes EPROTO', () => {
  for (const thrown of [new Error('odd'), { code: 'ERR_INVALID_ARG_TYPE' }, 'text', 7]) {
    assert.equal(asXpmemError(thrown, 'make').code, 'EPROTO')
  }
})
