/**
 * A tape drive in memory that keeps to the standard (SSC-5), for the scripted target: what tgt's does not.
 *
 * Contract: shares no code with src. `execute` answers one command; what a test wants to go wrong it does
 * itself, in front of this. Objects are records (buffers) and marks (null).
 */

export interface Answer {
  readonly status: number;
  readonly data?: Buffer;
  readonly sense?: Buffer;
  /** Bytes of data that were not taken or given. */
  readonly residual?: number;
}

export interface SenseFields {
  readonly key: number;
  readonly code?: number;
  readonly qualifier?: number;
  /** 80h file mark, 40h end of medium, 20h incorrect length. */
  readonly flags?: number;
  readonly information?: number;
  readonly deferred?: boolean;
}

export function fixedSense(fields: SenseFields): Buffer {
  const { key, code = 0, qualifier = 0, flags = 0, information, deferred = false } = fields;
  const bytes = Buffer.alloc(18);
  bytes[0] = (deferred ? 0x71 : 0x70) | (information === undefined ? 0 : 0x80);
  bytes[2] = key | flags;
  bytes.writeInt32BE(information ?? 0, 3);
  bytes[7] = 10;
  bytes[12] = code;
  bytes[13] = qualifier;
  return bytes;
}

export function descriptorSense(fields: SenseFields): Buffer {
  const { key, code = 0, qualifier = 0, flags = 0, information, deferred = false } = fields;
  const head = Buffer.of(deferred ? 0x73 : 0x72, key, code, qualifier, 0, 0, 0, 0);
  const parts = [head];
  // One that nobody knows first: it is to be passed over.
  parts.push(Buffer.of(0x80, 2, 0xaa, 0xbb));
  if (information !== undefined) {
    const one = Buffer.alloc(12);
    one.writeUInt32BE(0x000a8000);
    one.writeBigInt64BE(BigInt(information), 4);
    parts.push(one);
  }
  if (flags !== 0) parts.push(Buffer.of(4, 2, 0, flags));
  const bytes = Buffer.concat(parts);
  bytes[7] = bytes.length - 8;
  return bytes;
}

const GOOD: Answer = { status: 0 };

export class TapeModel {
  objects: (Buffer | null)[] = [];
  position = 0;
  loaded = true;
  writeProtected = false;
  capacityBytes = Number.POSITIVE_INFINITY;
  earlyBytes = 0;
  /** Objects at the end that are not on the medium yet, at most so many; 0: unbuffered. */
  bufferObjects = 0;
  flushed = 0;
  /**
   * The end, and its warning, are told when the buffer is written out: what has no room is gone then, and the
   * command that is told it was not carried out.
   */
  tellsLate = false;
  #late: SenseFields | undefined;
  #hasWarned = false;
  /** Records that cannot be read, by their numbers. */
  readonly damaged = new Set<number>();
  blockBytes = 512;
  buffered = 0;
  /** Operation codes that the drive does not know. */
  readonly lacks = new Set<number>();
  senseOf: (fields: SenseFields) => Buffer = fixedSense;

  check(fields: SenseFields, more: Partial<Answer> = {}): Answer {
    return { status: 2, sense: this.senseOf(fields), ...more };
  }

  execute(cdb: Buffer, out: Buffer, inBytes: number): Answer {
    const code = cdb.readUInt8(0);
    if (this.lacks.has(code)) return this.check({ key: 5, code: 0x20 });
    if (code === 0x12) return give(inquiry(1, 'TEST', 'TAPE'), inBytes);
    if (code === 0x05) return give(Buffer.from('00800000' + '0001', 'hex'), inBytes);
    if (code === 0x1b) return this.#load((cdb.readUInt8(4) & 1) === 1);
    if (!this.loaded) return this.check({ key: 2, code: 0x3a });
    if (this.#late !== undefined && (code === 0x0a || code === 0x10)) {
      const fields = { ...this.#late, deferred: true };
      this.#late = undefined;
      return this.check(fields, { residual: out.length });
    }
    switch (code) {
      case 0x00:
        return GOOD;
      case 0x01:
        this.#flush();
        this.position = 0;
        return GOOD;
      case 0x08:
        return this.#read(inBytes);
      case 0x0a:
        return this.#write(out);
      case 0x10:
        return this.#marks(cdb.readUIntBE(2, 3));
      case 0x11:
        return this.#space(cdb.readUInt8(1) & 0xf, cdb.readIntBE(2, 3));
      case 0x91:
        return this.#space(cdb.readUInt8(1) & 0xf, Number(cdb.readBigInt64BE(4)));
      case 0x15:
        this.blockBytes = out.readUIntBE(9, 3);
        this.buffered = (out.readUInt8(2) >> 4) & 7;
        return GOOD;
      case 0x19:
        return this.#erase();
      case 0x1a:
        return give(this.#mode(), inBytes);
      case 0x1e:
        return GOOD;
      case 0x2b:
        return this.#locate(cdb.readUInt32BE(3));
      case 0x92:
        return this.#locate(Number(cdb.readBigUInt64BE(4)));
      case 0x34:
        return this.#tell(cdb.readUInt8(1) & 0x1f, inBytes);
      default:
        return this.check({ key: 5, code: 0x20 });
    }
  }

  #flush(): void {
    this.flushed = this.objects.length;
  }

  #load(load: boolean): Answer {
    this.#flush();
    this.loaded = load;
    this.position = 0;
    return GOOD;
  }

  /** Bytes up to each object, as far as they were counted. */
  readonly #sums: number[] = [];

  get usedBytes(): number {
    return this.#used();
  }

  #used(): number {
    const { objects } = this;
    const sums = this.#sums;
    if (sums.length > objects.length) sums.length = objects.length;
    for (let i = sums.length; i < objects.length; i++) {
      sums.push((sums[i - 1] ?? 0) + (objects[i]?.length ?? 0) + 16);
    }
    return sums.at(-1) ?? 0;
  }

  #read(bytes: number): Answer {
    const object = this.objects[this.position];
    if (object === undefined)
      return this.check({ key: 8, code: 0, qualifier: 5 }, { residual: bytes });
    if (this.damaged.has(this.position)) {
      return this.check({ key: 3, code: 0x11 }, { residual: bytes });
    }
    this.position += 1;
    if (object === null) {
      const sense = { key: 0, qualifier: 1, flags: 0x80, information: bytes };
      return this.check(sense, { residual: bytes });
    }
    if (object.length === bytes) return { status: 0, data: object };
    const data = object.subarray(0, bytes);
    const residual = bytes - data.length;
    const information = bytes - object.length;
    return this.check({ key: 0, flags: 0x20, information }, { data, residual });
  }

  #put(object: Buffer | null): void {
    this.objects.length = this.position;
    this.#sums.length = Math.min(this.#sums.length, this.position);
    this.objects.push(object);
    this.position += 1;
    this.flushed = Math.min(this.flushed, this.position - 1);
    this.flushed = Math.max(this.flushed, this.position - this.bufferObjects);
  }

  #write(record: Buffer): Answer {
    if (this.writeProtected) return this.check({ key: 7, code: 0x27 }, { residual: record.length });
    const used = this.#used() + record.length + 16;
    if (this.blockBytes !== 0) return this.check({ key: 5, code: 0x24 });
    if (this.tellsLate) {
      this.#put(Buffer.from(record));
      this.#writeOut();
      return GOOD;
    }
    if (used > this.capacityBytes) {
      const sense = { key: 0xd, qualifier: 2, flags: 0x40, information: record.length };
      return this.check(sense, { residual: record.length });
    }
    this.#put(Buffer.from(record));
    if (used <= this.capacityBytes - this.earlyBytes) return GOOD;
    return this.check({ key: 0, qualifier: 2, flags: 0x40, information: 0 });
  }

  /** What has left the buffer is on the medium, or lost. */
  #writeOut(): void {
    this.#used();
    const end = this.#sums.findIndex((bytes) => bytes > this.capacityBytes);
    if (end >= 0 && end < this.flushed) {
      this.objects.length = end;
      this.#used();
      this.position = end;
      this.flushed = end;
      this.#late = { key: 0xd, code: 0, qualifier: 2, flags: 0x40 };
    } else if (!this.#hasWarned) {
      const written = this.#sums[this.flushed - 1] ?? 0;
      if (written <= this.capacityBytes - this.earlyBytes) return;
      this.#hasWarned = true;
      this.#late = { key: 0, code: 0, qualifier: 2, flags: 0x40 };
    }
  }

  #marks(count: number): Answer {
    if (count > 0 && this.writeProtected) return this.check({ key: 7, code: 0x27 });
    for (let i = 0; i < count; i++) this.#put(null);
    this.#flush();
    if (this.tellsLate) {
      this.#writeOut();
      const fields = this.#late;
      this.#late = undefined;
      return fields === undefined ? GOOD : this.check({ ...fields, deferred: true });
    }
    if (this.#used() <= this.capacityBytes - this.earlyBytes) return GOOD;
    return this.check({ key: 0, qualifier: 2, flags: 0x40 });
  }

  #erase(): Answer {
    if (this.writeProtected) return this.check({ key: 7, code: 0x27 });
    this.objects.length = this.position;
    this.#flush();
    return GOOD;
  }

  #locate(object: number): Answer {
    this.#flush();
    if (object > this.objects.length) {
      this.position = this.objects.length;
      return this.check({ key: 8, qualifier: 5 });
    }
    this.position = object;
    return GOOD;
  }

  #space(what: number, count: number): Answer {
    this.#flush();
    if (what === 3) {
      this.position = this.objects.length;
      return GOOD;
    }
    const step = Math.sign(count);
    for (let done = 0; done < Math.abs(count); ) {
      const left = Math.abs(count) - done;
      if (step < 0 && this.position === 0) {
        return this.check({ key: 0, qualifier: 4, flags: 0x40, information: left });
      }
      const object = this.objects[step > 0 ? this.position : this.position - 1];
      if (object === undefined) return this.check({ key: 8, qualifier: 5, information: left });
      this.position += step;
      const isMark = object === null;
      if (isMark && what === 0) {
        return this.check({ key: 0, qualifier: 1, flags: 0x80, information: left });
      }
      if (isMark === (what === 1)) done += 1;
    }
    return GOOD;
  }

  #mode(): Buffer {
    const bytes = Buffer.alloc(12);
    bytes[0] = 11;
    bytes[2] = (this.writeProtected ? 0x80 : 0) | (this.buffered << 4);
    bytes[3] = 8;
    bytes[4] = 0x5a;
    bytes.writeUIntBE(this.blockBytes, 9, 3);
    return bytes;
  }

  #tell(form: number, inBytes: number): Answer {
    const bytes = Buffer.alloc(form === 6 ? 32 : 20);
    const early = this.#used() > this.capacityBytes - this.earlyBytes;
    bytes[0] = (this.position === 0 ? 0x80 : 0) | (early ? 0x40 : 0);
    if (form === 6) bytes.writeBigUInt64BE(BigInt(this.position), 8);
    else {
      bytes.writeUInt32BE(this.position, 4);
      bytes.writeUInt32BE(Math.min(this.position, this.flushed), 8);
    }
    return give(bytes, inBytes);
  }
}

export function inquiry(type: number, vendor: string, product: string): Buffer {
  const bytes = Buffer.alloc(36, ' ');
  bytes.set([type, 0x80, 6, 2, 31, 0, 0, 0]);
  bytes.write(vendor, 8);
  bytes.write(product, 16);
  bytes.write('0001', 32);
  return bytes;
}

export function give(bytes: Buffer, inBytes: number): Answer {
  const data = bytes.subarray(0, inBytes);
  return { status: 0, data, residual: inBytes - data.length };
}
