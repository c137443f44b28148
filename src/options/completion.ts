export function completionScript(_shell: 'bash' | 'zsh' | 'fish'): string {
  return '';
}
